"""The local GitLab's web application: routes requests to git, to the API and to two plain pages.

It listens on loopback and believes whoever reaches it; only what a job token may not do is refused, since
that is what surprises people on the real one.
"""

from __future__ import annotations

from collections.abc import Callable
from pathlib import Path
from typing import Any

from flask import Flask, Response, abort, jsonify, request
from werkzeug.datastructures import Authorization

from mlops.local.gitlab import api, id_tokens, packages, pipelines, projects, smart_http, variables
from mlops.local.gitlab.api import RefusedError
from mlops.local.gitlab.projects import Project

_PAGE = 20  # GitLab's own default for per_page


def create_app(home: Path, port: int) -> Flask:
    """The WSGI application.

    Args:
        home: Where repositories and records are kept.
        port: The port it is served on, for the links in its answers.
    """
    home.mkdir(parents=True, exist_ok=True)
    app = Flask(__name__, static_folder=None)
    _add_git(app, home)
    _add_pages(app, home)
    _add_keys(app, home, f"http://127.0.0.1:{port}")
    _add_api(app, home, f"http://127.0.0.1:{port}")
    _add_groups(app, home)
    _add_packages(app, home, f"http://127.0.0.1:{port}")

    @app.errorhandler(RefusedError)
    def refused(error: RefusedError) -> tuple[Response, int]:
        return jsonify({"message": error.message}), error.status

    return app


def _add_git(app: Flask, home: Path) -> None:
    # The three of the smart protocol; the files of a repository are not served one by one.
    @app.get("/<path:path>.git/<any('info/refs'):service>")
    @app.post("/<path:path>.git/<any('git-upload-pack', 'git-receive-pack'):service>")
    def git(path: str, service: str) -> Any:
        project = projects.find_project(home, path) if projects.valid_path(path) else None
        if project is None:
            abort(404)
        pushes = "git-receive-pack" in (service, request.args.get("service"))
        if pushes and _is_job(request.authorization) and not projects.may_jobs_push(project):
            return Response("You are not allowed to upload code.", status=403, mimetype="text/plain")
        return smart_http.serve(request, home / "repositories", f"{path}.git/{service}")


def _add_pages(app: Flask, home: Path) -> None:
    @app.get("/<path:path>/-/jobs/<int:number>")
    def job_log(path: str, number: int) -> Response:
        found = pipelines.find_by_job(home, number)
        if found is None or found[0].project_path != path:
            abort(404)
        log = Path(found[1].log)
        text = log.read_text(encoding="utf-8", errors="replace") if log.is_file() else "(no output yet)\n"
        return Response(text, mimetype="text/plain")

    @app.get("/<path:path>/-/pipelines/<int:number>")
    def pipeline(path: str, number: int) -> Response:
        found = pipelines.find(home, number)
        if found is None or found.project_path != path:
            abort(404)
        lines = [f"pipeline {found.id} of {path}, {found.source} of {found.ref}: {found.status}", ""]
        lines += [
            f"{job.status:8}  {job.stage:12}  {job.name:16}  {request.host_url}{path}/-/jobs/{job.id}"
            for job in found.jobs
        ]
        return Response("\n".join(lines) + "\n", mimetype="text/plain")


def _add_keys(app: Flask, home: Path, url: str) -> None:
    """What AWS asks an identity provider for."""

    @app.get(id_tokens.CONFIGURATION_PATH)
    def configuration() -> Response:
        return jsonify(id_tokens.configuration(url))

    @app.get(id_tokens.KEYS_PATH)
    def keys() -> Response:
        return jsonify(id_tokens.public_keys(home))


def _add_api(app: Flask, home: Path, url: str) -> None:
    """The routes of /api/v4. A project is named by its number or its path, with `/` as %2F."""
    project_url = "/api/v4/projects/<path:key>"

    def route(method: str, path: str) -> Callable[[Callable[..., Any]], None]:
        def register(answer: Callable[..., Any]) -> None:
            def view(key: str, **parts: Any) -> tuple[Response, int]:
                _authorize(path)
                project = projects.find_project(home, key)
                if project is None:
                    raise RefusedError(404, "404 Project Not Found")
                document = answer(project, **parts)
                return _answer(document), 201 if method == "POST" else 200

            app.add_url_rule(project_url + path, f"{method} {path}", view, methods=[method])

        return register

    tags = "/repository/tags"
    notes = "/merge_requests/<int:iid>/notes"
    pipeline = "/pipelines/<int:number>"

    route("GET", "")(lambda project: api.project_document(project, url))
    route("GET", tags)(lambda project: api.list_tags(project, request.args))
    route("GET", f"{tags}/<path:name>")(api.get_tag)
    route("POST", tags)(lambda project: api.create_tag(project, _body()))
    route("GET", "/releases")(lambda project: api.list_releases(home, project))
    route("GET", "/releases/<path:tag>")(lambda project, tag: api.get_release(home, project, tag))
    route("POST", "/releases")(lambda project: api.create_release(home, project, _body(), url))
    route("GET", notes)(lambda project, iid: api.list_notes(home, project, iid))
    route("POST", notes)(lambda project, iid: api.create_note(home, project, iid, _body()))
    route("GET", pipeline)(lambda project, number: api.get_pipeline(home, project, number, url))

    @route("PUT", f"{notes}/<int:note>")
    def _update_note(project: Project, iid: int, note: int) -> Any:
        return api.update_note(home, project, iid, note, _body())

    @route("GET", f"{pipeline}/jobs")
    def _list_jobs(project: Project, number: int) -> Any:
        return api.list_jobs(home, project, number, request.args.getlist("scope[]"), url)


def _add_groups(app: Flask, home: Path) -> None:
    """The CI variables of a group, which is named by its path; every group exists."""
    group_url = "/api/v4/groups/<path:group>/variables"

    # python-gitlab's command asks who it is before anything else
    @app.get("/api/v4/user")
    def current_user() -> Response:
        _authorize("/user")
        return jsonify({"id": 1, "username": "local", "name": "local", "state": "active"})

    @app.get(group_url)
    def list_variables(group: str) -> Response:
        _authorize(group_url)
        return _answer(variables.list_variables(home, group))

    @app.post(group_url)
    def create_variable(group: str) -> tuple[Response, int]:
        _authorize(group_url)
        return _answer(variables.create_variable(home, group, _body())), 201

    @app.put(f"{group_url}/<key>")
    def update_variable(group: str, key: str) -> Response:
        _authorize(group_url)
        return _answer(variables.update_variable(home, group, key, _body()))


def _add_packages(app: Flask, home: Path, url: str) -> None:
    """The project's PyPI registry, as twine and pip use it."""
    registry = "/api/v4/projects/<key>/packages/pypi"

    def project_of(key: str) -> Project:
        if request.authorization is None:
            raise RefusedError(401, "401 Unauthorized")
        project = projects.find_project(home, key)
        if project is None:
            raise RefusedError(404, "404 Project Not Found")
        return project

    @app.post(registry)
    def upload(key: str) -> tuple[Response, int]:
        project, file = project_of(key), request.files.get("content")
        if file is None or not request.form.get("name") or not request.form.get("version"):
            raise RefusedError(400, "content, name or version is missing")
        refusal = packages.add(home, project, file.filename or "", file.stream.read())
        if refusal:
            raise RefusedError(400, refusal)
        return jsonify({"message": "201 Created"}), 201

    @app.get(f"{registry}/simple/<package>")
    @app.get(f"{registry}/simple/<package>/")
    def simple(key: str, package: str) -> Response:
        page = packages.simple(home, project_of(key), package, url)
        if not page:
            raise RefusedError(404, "404 Not Found")
        return Response(page, mimetype="text/html")

    @app.get(f"{registry}/files/<digest>/<name>")
    def download(key: str, digest: str, name: str) -> Response:
        file = packages.find(home, project_of(key), digest, name)
        if file is None:
            raise RefusedError(404, "404 Not Found")
        return Response(file.read_bytes(), mimetype="application/octet-stream")


def _is_job(grant: Authorization | None) -> bool:
    """Whether git comes with a job token: https://docs.gitlab.com/ci/jobs/ci_job_token/"""
    return grant is not None and grant.get("username") == "gitlab-ci-token"


def _authorize(path: str) -> None:
    """Refuse who is nobody, and a job token where it is nobody too.

    It makes releases and reads notes; GitLab does not know it elsewhere:
    https://docs.gitlab.com/ci/jobs/ci_job_token/#job-token-access
    """
    if request.headers.get("PRIVATE-TOKEN") or request.headers.get("Authorization"):
        return
    reads_notes = request.method == "GET" and "/notes" in path
    if not request.headers.get("JOB-TOKEN") or not (path.startswith("/releases") or reads_notes):
        raise RefusedError(401, "401 Unauthorized")


def _body() -> dict[str, Any]:
    """The body, as JSON or as a form; GitLab takes attributes in the query too."""
    document = request.get_json(silent=True)
    return {**request.args, **request.form, **(document if isinstance(document, dict) else {})}


def _answer(document: Any) -> Response:
    """The document; one page of it when it is a list."""
    if not isinstance(document, list):
        return jsonify(document)
    page = max(1, request.args.get("page", 1, type=int))
    size = min(100, max(1, request.args.get("per_page", _PAGE, type=int)))
    pages = max(1, -(-len(document) // size))
    response = jsonify(document[(page - 1) * size : page * size])
    response.headers |= {
        "X-Page": str(page),
        "X-Per-Page": str(size),
        "X-Total": str(len(document)),
        "X-Total-Pages": str(pages),
        "X-Next-Page": str(page + 1) if page < pages else "",
    }
    if page < pages:
        following = {**request.args.to_dict(), "page": str(page + 1), "per_page": str(size)}
        query = "&".join(f"{name}={value}" for name, value in following.items())
        response.headers["Link"] = f'<{request.base_url}?{query}>; rel="next"'
    return response
