import sys

import mlflow

with mlflow.start_run():
    mlflow.log_metric("score", float(sys.argv[1]) * 2)
    mlflow.log_text(sys.argv[2], "words.txt")
