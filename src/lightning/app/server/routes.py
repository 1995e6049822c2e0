"""What the web process answers, as a raw ASGI application."""

from __future__ import annotations

from lightning.app.server.security import Application, Receive, Scope, Send, answer


def routes(run_id: str) -> Application:
    """The health of the process, and one line where the page will be."""

    async def application(scope: Scope, receive: Receive, send: Send) -> None:
        match scope["path"]:
            case "/healthz":
                await answer(send, 200, '{"status":"ok"}', b"application/json")
            case "/view":
                await answer(send, 200, f"Run {run_id} of a Lightning App is up. Its page comes here.\n")
            case _:
                await answer(send, 404, "there is nothing here; see /view\n")

    return application
