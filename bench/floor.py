"""The floor: bare Flask routes that return prepared bytes, served by gunicorn's own threaded worker.

``BENCH_ANSWERS`` names a JSON file: path -> [method, content type, body].
"""

from __future__ import annotations

import json
import os
from functools import partial
from pathlib import Path

from flask import Flask, Response

app = Flask(__name__, static_folder=None)

for _path, (_method, _content_type, _body) in json.loads(Path(os.environ["BENCH_ANSWERS"]).read_text()).items():
    app.add_url_rule(_path, _path, partial(Response, _body, content_type=_content_type), methods=[_method])
