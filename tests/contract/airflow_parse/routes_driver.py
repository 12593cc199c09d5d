"""Run by Airflow's own Python: one application as FastAPI makes it, and as the local stack has FastAPI make it.

Prints, as JSON, what both describe and answer, and which routes were built for it.
"""

# No `annotations` of the future: FastAPI would not find the names of a function in strings.
import json
from collections.abc import Iterator
from importlib import import_module
from typing import Any

fastapi: Any = import_module("fastapi")
pydantic: Any = import_module("pydantic")
client_of = import_module("fastapi.testclient").TestClient
routes = import_module("mlops_local.airflow.routes")


class Item(pydantic.BaseModel):  # type: ignore[misc]
    name: str
    price: float = pydantic.Field(gt=0, default=1.0)


class Trouble(pydantic.BaseModel):  # type: ignore[misc]
    detail: str


def keyed(key: str) -> str:
    if key != "right":
        raise fastapi.HTTPException(403, "the key is wrong")
    return key


def one(number: int, long: bool = False) -> Item:
    """Describe one.\fNot told."""
    return Item(name=f"{number} {long}")


def several(first: Item, second: Item) -> Any:
    return [first, second]


def stream() -> Iterator[Item]:
    yield Item(name="a")


def plain() -> fastapi.Response:
    return fastapi.Response("plain")


def application() -> Any:
    """Routers within routers, as Airflow has them."""
    app, outer, inner = (
        fastapi.FastAPI(),
        fastapi.APIRouter(prefix="/outer"),
        fastapi.APIRouter(tags=["inner"]),
    )
    inner.get("/items/{number}", responses={404: {"model": Trouble}})(one)
    inner.post("/items", status_code=201, response_model=list[Item], response_model_exclude_unset=True)(
        several
    )
    inner.get("/stream")(stream)
    inner.get("/plain", deprecated=True, name="other", include_in_schema=False)(plain)
    outer.include_router(inner, prefix="/inner", dependencies=[fastapi.Depends(keyed)])
    app.include_router(outer, prefix="/api", responses={401: {"model": Trouble}})
    return app


def built(app: Any) -> list[str]:
    return [route.name for route in app.routes if "dependant" in vars(route)]


def seen(app: Any) -> dict[str, Any]:
    items, client = "/api/outer/inner/items", client_of(app)
    pair = {"first": {"name": "a"}, "second": {"name": "b", "price": 0}}
    before = built(app)
    asked = [
        client.get(f"{items}/7?key=right&long=1"),
        client.get(f"{items}/7?key=wrong"),
        client.get(f"{items}/seven?key=right"),
        client.post(f"{items}?key=right", json=pair),
        client.post(f"{items}?key=right", json=pair | {"second": {"name": "b"}}),
        client.post(f"{items}/7?key=right"),
    ]
    after = built(app)
    asked += [client.get(f"/api/outer/inner/{name}?key=right") for name in ("stream", "plain", "none")]
    answers = [[answer.status_code, answer.text] for answer in asked]
    return {"before": before, "after": after, "answers": answers, "description": app.openapi()}


whole = seen(application())
routes.build_when_used()
print(json.dumps({"whole": whole, "late": seen(application())}))  # noqa: T201
