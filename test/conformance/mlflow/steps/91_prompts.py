"""Prompts: in the registry of models, and yet none."""

import mlflow
from conformance import client, equal, raises, request, step, unique

name = unique("letter") + ".en"
state = {}


@step("a prompt is registered, and again is its next version")
def _():
    p = mlflow.genai.register_prompt(name=name, template="Dear {{name}}, you owe {{ amount }}.", commit_message="first", tags={"tone": "stern"})
    equal((p.name, p.version, p.commit_message), (name, 1, "first"))
    p = mlflow.genai.register_prompt(name=name, template="Hello {{name}}!", commit_message="kinder")
    equal(p.version, 2)


@step("a version is loaded by its number, its address and as the newest")
def _():
    p = mlflow.genai.load_prompt(name, version=1)
    equal(p.template, "Dear {{name}}, you owe {{ amount }}.")
    equal(p.variables, {"name", "amount"})
    equal(p.tags["tone"], "stern")
    equal(p.format(name="Ada", amount="7"), "Dear Ada, you owe 7.")
    equal(mlflow.genai.load_prompt(f"prompts:/{name}/2").template, "Hello {{name}}!")
    equal(mlflow.genai.load_prompt(f"prompts:/{name}@latest").version, 2)


@step("a chat prompt keeps its messages, its response format and its model settings")
def _():
    chat = unique("chat")
    messages = [{"role": "system", "content": "You are {{style}}."}, {"role": "user", "content": "{{question}}"}]
    mlflow.genai.register_prompt(name=chat, template=messages, response_format={"type": "object"}, model_config={"model_name": "m", "temperature": 0.5})
    p = mlflow.genai.load_prompt(chat, version=1)
    equal(p.template, messages)
    equal(p.response_format, {"type": "object"})
    equal(p.model_config["temperature"], 0.5)
    equal(p.format(style="brief", question="Why?")[1]["content"], "Why?")


@step("an alias of a prompt is set, moved, loaded and taken away")
def _():
    mlflow.genai.set_prompt_alias(name, alias="production", version=1)
    equal(mlflow.genai.load_prompt(f"prompts:/{name}@production").version, 1)
    mlflow.genai.set_prompt_alias(name, alias="production", version=2)
    equal(mlflow.genai.load_prompt(f"prompts:/{name}@production", cache_ttl_seconds=0).version, 2)
    equal(client().get_prompt_version(name, "2").aliases, ["production"])
    mlflow.genai.delete_prompt_alias(name, alias="production")
    equal(mlflow.genai.load_prompt(f"prompts:/{name}@production", cache_ttl_seconds=0, allow_missing=True), None)


@step("prompts are searched, with filters and in pages, and are no registered models")
def _():
    prefix = unique("many")
    for n in range(5):
        client().create_prompt(f"{prefix}-{n}", tags={"n": str(n)})
    equal([p.name for p in client().search_prompts(f"name LIKE '{prefix}%'")], [f"{prefix}-{n}" for n in range(5)])
    equal([p.name for p in client().search_prompts(f"name LIKE '{prefix}%' AND tags.n = '3'")], [f"{prefix}-3"])
    got, token = [], None
    while True:
        page = client().search_prompts(f"name LIKE '{prefix}%'", max_results=2, page_token=token)
        got += [p.name for p in page]
        token = page.token
        if not token:
            break
    equal(got, [f"{prefix}-{n}" for n in range(5)])
    equal(list(client().search_registered_models(f"name LIKE '{prefix}%'")), [])
    equal(list(client().search_registered_models(f"name = '{name}'")), [])


@step("the versions of a prompt are searched, the newest first")
def _():
    equal([v.version for v in client().search_prompt_versions(name)], [2, 1])


@step("tags of a prompt and of its versions are set and deleted")
def _():
    client().set_prompt_tag(name, "team", "risk")
    client().set_prompt_version_tag(name, 2, "checked", "yes")
    equal(client().get_prompt(name).tags["team"], "risk")
    equal(client().get_prompt_version(name, 2).tags["checked"], "yes")
    client().delete_prompt_tag(name, "team")
    client().delete_prompt_version_tag(name, 2, "checked")
    assert "team" not in client().get_prompt(name).tags
    assert "checked" not in client().get_prompt_version(name, 2).tags


@step("the text of a version does not change, and a prompt and a model cannot share a name")
def _():
    raises("INVALID_PARAMETER_VALUE", client().set_prompt_version_tag, name, "1", "mlflow.prompt.text", "other")
    model = unique("model")
    client().create_registered_model(model)
    raises("RESOURCE_ALREADY_EXISTS", client().create_prompt, model)
    plain = unique("plain")
    client().create_prompt(plain)
    raises("RESOURCE_ALREADY_EXISTS", client().create_registered_model, plain)


@step("a prompt's source opens no file")
def _():
    tags = [{"key": "mlflow.prompt.is_prompt", "value": "true"}, {"key": "mlflow.prompt.text", "value": "x"}]
    answer = request("POST", "/api/2.0/mlflow/model-versions/create", {"name": name, "source": "file:///etc/", "tags": tags})
    equal((answer.status_code, answer.json()["error_code"]), (400, "INVALID_PARAMETER_VALUE"))
    answer = request("GET", "/model-versions/get-artifact", query={"name": name, "version": "1", "path": "passwd"})
    assert 400 <= answer.status_code < 500 and "root:" not in answer.text, answer.text


@step("a prompt is linked to a run that loads it")
def _():
    mlflow.set_experiment(unique("prompts"))
    with mlflow.start_run() as run:
        mlflow.genai.load_prompt(name, version=2, cache_ttl_seconds=0)
    linked = client().get_run(run.info.run_id).data.tags.get("mlflow.linkedPrompts", "")
    assert name in linked, linked


@step("a version of a prompt is deleted, and its number does not return; then the prompt is")
def _():
    client().delete_prompt_version(name, "2")
    equal(mlflow.genai.register_prompt(name=name, template="third").version, 3)
    client().delete_prompt(name)
    equal(client().get_prompt(name), None)
    equal(mlflow.genai.register_prompt(name=name, template="anew").version, 1)
