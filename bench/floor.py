"""The floor: bare Flask routes that return prepared bytes, served by gunicorn's own threaded worker.

``BENCH_ANSWERS`` names a JSON file: path -> [method, content type, body].
"""

from __future__ import annotations

import json
import os
from pathlib import Path

from flask import Flask, Response

app = Flask(__name__, static_folder=None)


def _add_route(path: str, method: str, content_type: str, body: bytes) -> None:
    @app.route(path, methods=[method], endpoint=path)
    def answer() -> Response:
        return Response(body, content_type=content_type)


for _path, (_method, _content_type, _body) in json.loads(Path(os.environ["BENCH_ANSWERS"]).read_text()).items():
    _add_route(_path, _method, _content_type, _body.encode())
