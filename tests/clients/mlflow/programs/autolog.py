"""scikit-learn logs itself."""

import mlflow
from sklearn.datasets import load_iris
from sklearn.linear_model import LogisticRegression
from sklearn.model_selection import train_test_split

mlflow.set_experiment("autolog")
mlflow.autolog(log_models=False)
features, labels = load_iris(return_X_y=True)
train, test, train_labels, test_labels = train_test_split(features, labels, random_state=0)
with mlflow.start_run() as run:
    model = LogisticRegression(max_iter=200, C=0.5).fit(train, train_labels)
    model.score(test, test_labels)
print(run.info.run_id)
