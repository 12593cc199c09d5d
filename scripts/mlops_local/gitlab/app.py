"""The local GitLab's web application: routes requests to git, to the API and to two plain pages.

It listens on loopback and believes every program that reaches it, but no page of another site. What a job
token may not do is refused, since that is what surprises people on the real one.
"""

from __future__ import annotations

from collections.abc import Callable
from pathlib import Path
from typing import Any

from flask import Flask, Response, abort, jsonify, request, send_file
from werkzeug.datastructures import Authorization

from mlops_local.base.loopback import OwnPagesOnly
from mlops_local.gitlab import (
    api,
    callers,
    id_tokens,
    jobs,
    packages,
    pipelines,
    projects,
    schedules,
    smart_http,
    statuses,
    users,
    variables,
)
from mlops_local.gitlab.api import RefusedError
from mlops_local.gitlab.projects import LocalProject
from mlops_local.gitlab.users import User

View = Callable[..., Any]
Route = Callable[[str, str], Callable[[View], None]]

_PAGE = 20  # GitLab's own default for per_page


def create_app(home: Path, port: int) -> Flask:
    """The WSGI application.

    Args:
        home: Where repositories and records are kept.
        port: The port it is served on, for the links in its answers.
    """
    home.mkdir(parents=True, exist_ok=True)
    app = Flask(__name__, static_folder=None)
    app.wsgi_app = OwnPagesOnly(app.wsgi_app, port)  # type: ignore[method-assign]
    _add_git(app, home)
    _add_pages(app, home)
    _add_keys(app, home, f"http://127.0.0.1:{port}")
    _add_api(app, home, f"http://127.0.0.1:{port}")
    _add_groups(app, home)
    _add_users(app, home, f"http://127.0.0.1:{port}")
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


def _add_api(app: Flask, home: Path, url: str) -> None:  # pylint: disable=too-many-locals
    """The routes of /api/v4. A project is named by its number or its path, with `/` as %2F."""
    project_url = "/api/v4/projects/<path:key>"

    def route(method: str, path: str) -> Callable[[View], None]:
        def register(answer: View) -> None:
            def view(key: str, **parts: Any) -> tuple[Response, int]:
                callers.authorize(home, path)
                project = projects.find_project(home, key)
                if project is None:
                    raise RefusedError(404, "404 Project Not Found")
                callers.admit_job(home, project)
                document = answer(project, **parts)
                if isinstance(document, Response):
                    return document, document.status_code
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
    branches = "/repository/branches"
    route("GET", "/repository/commits/<path:ref>")(lambda project, ref: api.get_commit(project, ref, url))
    route("GET", branches)(lambda project: api.list_branches(project, request.args, url))
    route("GET", f"{branches}/<path:name>")(lambda project, name: api.get_branch(project, name, url))
    route("GET", "/merge_requests/<int:iid>")(
        lambda project, iid: jobs.get_merge_request(home, project, iid, url)
    )
    route("GET", "/pipelines")(lambda project: jobs.list_pipelines(home, project, request.args, url))
    route("GET", pipeline)(lambda project, number: jobs.get_pipeline(home, project, number, url))
    route("GET", "/jobs/<int:job>")(lambda project, job: jobs.get_job(home, project, job, url))

    @route("PUT", f"{notes}/<int:note>")
    def _update_note(project: LocalProject, iid: int, note: int) -> Any:
        return api.update_note(home, project, iid, note, _body())

    @route("GET", f"{pipeline}/jobs")
    def _list_jobs(project: LocalProject, number: int) -> Any:
        return jobs.list_jobs(home, project, number, request.args.getlist("scope[]"), url)

    @route("GET", f"{pipeline}/bridges")
    def _list_bridges(project: LocalProject, number: int) -> Any:
        return jobs.list_bridges(home, project, number, request.args.getlist("scope[]"), url)

    @route("GET", "/jobs/<int:job>/trace")
    def _trace(project: LocalProject, job: int) -> Any:
        return Response(jobs.read_trace(home, project, job), content_type="text/plain")

    @route("GET", "/jobs/<int:job>/artifacts")
    def _artifacts(project: LocalProject, job: int) -> Any:
        archive = jobs.open_artifacts(home, project, job)
        return send_file(archive, "application/zip", as_attachment=True, download_name="artifacts.zip")

    @route("GET", "/repository/commits/<sha>/statuses")
    def _list_statuses(project: LocalProject, sha: str) -> Any:
        return statuses.list_statuses(home, project, sha, request.args, url)

    @route("POST", "/statuses/<sha>")
    def _create_status(project: LocalProject, sha: str) -> Any:
        return statuses.create_status(home, project, callers.user_of(home), sha, _body(), url)

    _add_schedules(route, home, url)


def _add_schedules(route: Route, home: Path, url: str) -> None:
    """Pipeline schedules, as the caller may use them."""
    one = "/pipeline_schedules/<int:number>"

    @route("GET", "/pipeline_schedules")
    def _list(project: LocalProject) -> Any:
        return schedules.list_schedules(home, project, request.args.get("scope", ""), url)

    @route("POST", "/pipeline_schedules")
    def _create(project: LocalProject) -> Any:
        return schedules.create_schedule(home, project, callers.user_of(home), _body(), url)

    @route("PUT", one)
    def _update(project: LocalProject, number: int) -> Any:
        return schedules.update_schedule(home, project, callers.user_of(home), number, _body(), url)

    @route("DELETE", one)
    def _delete(project: LocalProject, number: int) -> Any:
        schedules.delete_schedule(home, project, number)
        return Response(status=204)

    @route("POST", f"{one}/take_ownership")
    def _own(project: LocalProject, number: int) -> Any:
        document, status = schedules.take_ownership(home, project, callers.user_of(home), number, url)
        response = _answer(document)
        response.status_code = status
        return response

    @route("POST", f"{one}/variables")
    def _add_variable(project: LocalProject, number: int) -> Any:
        return schedules.put_variable(home, project, callers.user_of(home), number, "", _body())

    @route("PUT", f"{one}/variables/<name>")
    def _change_variable(project: LocalProject, number: int, name: str) -> Any:
        return schedules.put_variable(home, project, callers.user_of(home), number, name, _body())

    @route("DELETE", f"{one}/variables/<name>")
    def _delete_variable(project: LocalProject, number: int, name: str) -> Any:
        response = _answer(schedules.delete_variable(home, project, callers.user_of(home), number, name))
        response.status_code = 202
        return response

    @route("GET", f"{one}/pipelines")
    def _pipelines(project: LocalProject, number: int) -> Any:
        found = schedules.list_pipelines(home, project, number)
        return [jobs.pipeline_document(pipeline, url) for pipeline in found]

    route("GET", one)(lambda project, number: schedules.get_schedule(home, project, number, url))
    route("POST", f"{one}/play")(
        lambda project, number: schedules.play(home, project, callers.user_of(home), number)
    )


def _add_groups(app: Flask, home: Path) -> None:
    """The CI variables of a group, which is named by its path; every group exists."""
    group_url = "/api/v4/groups/<path:group>/variables"

    @app.get(group_url)
    def list_variables(group: str) -> Response:
        callers.authorize(home, group_url)
        return _answer(variables.list_variables(home, group))

    @app.post(group_url)
    def create_variable(group: str) -> tuple[Response, int]:
        callers.authorize(home, group_url)
        return _answer(variables.create_variable(home, group, _body())), 201

    @app.put(f"{group_url}/<key>")
    def update_variable(group: str, key: str) -> Response:
        callers.authorize(home, group_url)
        return _answer(variables.update_variable(home, group, key, _body()))


def _add_users(app: Flask, home: Path, url: str) -> None:
    """Who calls, everybody else, and whose job it is."""

    # python-gitlab's command asks who it is before anything else
    @app.get("/api/v4/user")
    def current_user() -> Response:
        callers.authorize(home, "/user")
        return jsonify(users.document(callers.user_of(home), url))

    @app.get("/api/v4/users")
    def list_users() -> Response:
        callers.authorize(home, "/users")
        name = request.args.get("username")
        return _answer(
            [users.document(user, url) for user in users.listed(home) if name in (None, user.username)]
        )

    def find(number: str) -> User:
        callers.authorize(home, "/users")
        user = users.find(home, number)
        if user is None:
            raise RefusedError(404, "404 User Not Found")
        return user

    @app.get("/api/v4/users/<number>")
    def get_user(number: str) -> Response:
        return jsonify(users.document(find(number), url))

    @app.post("/api/v4/users/<number>/block")
    def block(number: str) -> tuple[Response, int]:
        user = find(number)
        users.set_state(home, user, "blocked")
        schedules.deactivate_of(home, user.username)
        return jsonify(True), 201

    @app.post("/api/v4/users/<number>/unblock")
    def unblock(number: str) -> tuple[Response, int]:
        users.set_state(home, find(number), "active")
        return jsonify(True), 201

    @app.get("/api/v4/job")
    def current_job() -> Response:
        found = pipelines.find_by_job(home, callers.job_of_token() or 0)
        if found is None:
            raise RefusedError(404, "404 Job Not Found")
        return jsonify(jobs.job_document(home, *found, url))


def _add_packages(app: Flask, home: Path, url: str) -> None:
    """The project's PyPI registry, as twine and pip use it."""
    registry = "/api/v4/projects/<key>/packages/pypi"

    def project_of(key: str) -> LocalProject:
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
