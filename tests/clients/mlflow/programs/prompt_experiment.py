"""A prompt experiment as the MLflow guide for LLMs writes it: parameters, one call, figures, three texts."""

import sys
import time

import mlflow
from openai import OpenAI

INPUT_PRICE, OUTPUT_PRICE = 0.15e-6, 0.60e-6

version, temperature = sys.argv[1], float(sys.argv[2])
system = "You are a terse assistant."
prompt = f"Explain an index in one sentence. ({version})"

mlflow.set_experiment("prompt-dev")
with mlflow.start_run(run_name=version) as run:
    mlflow.set_tag("stage", "dev")
    mlflow.log_params({"model": "sim-small", "temperature": temperature, "prompt_version": version})
    started = time.perf_counter()
    answer = OpenAI().chat.completions.create(
        model="sim-small",
        temperature=temperature,
        messages=[{"role": "system", "content": system}, {"role": "user", "content": prompt}],
    )
    mlflow.log_metrics(
        {
            "input_tokens": answer.usage.prompt_tokens,
            "output_tokens": answer.usage.completion_tokens,
            "total_tokens": answer.usage.total_tokens,
            "latency_seconds": time.perf_counter() - started,
            "cost_usd": answer.usage.prompt_tokens * INPUT_PRICE + answer.usage.completion_tokens * OUTPUT_PRICE,
            "temperature_used": temperature,
        }
    )
    mlflow.log_text(system, "system.txt")
    mlflow.log_text(prompt, "prompt.txt")
    mlflow.log_text(answer.choices[0].message.content, "response.txt")
print(run.info.run_id)
