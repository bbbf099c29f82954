"""Load for `charrnn serve`, by the tool Locust: each client requests a text, reads it, and requests the next.

    charrnn serve -m checkpoints/demo
    locust -f benchmarks/load.py --headless --host http://localhost:8765 -u 100 -r 100 -t 60s

Of ten requests, six are for a whole text (two of these with other settings, so that different settings share a batch),
two are for a streamed text, one is for scores and one for completions.
"""

import json

from locust import HttpUser, constant, task

PRIME, LENGTH = "The river ", 100


class Client(HttpUser):
    """One client, with one request at a time."""

    wait_time = constant(0)

    @task(4)
    def text(self) -> None:
        """Request a text."""
        self._text({})

    @task(2)
    def own_text(self) -> None:
        """Request a text with other settings."""
        self._text({"temperature": 0.5, "top_p": 0.9})

    @task(2)
    def stream(self) -> None:
        """Request a streamed text."""
        ask = {"prime": PRIME, "length": LENGTH, "stream": True}
        with self.client.post("/generate", json=ask, stream=True, name="/generate stream", catch_response=True) as got:
            *pieces, last = map(json.loads, got.iter_lines())
            if "".join(piece["piece"] for piece in pieces) != last["text"] or len(last["text"]) != LENGTH:
                got.failure("the pieces are not the text")

    @task(1)
    def scores(self) -> None:
        """Request the scores of ten lines."""
        self.client.post("/score", json={"lines": [PRIME * 4] * 10})

    @task(1)
    def completions(self) -> None:
        """Request the most likely words."""
        self.client.post("/complete", json={"text": PRIME + "w"})

    def _text(self, settings: dict[str, float]) -> None:
        ask = {"prime": PRIME, "length": LENGTH, **settings}
        with self.client.post("/generate", json=ask, catch_response=True) as got:
            if got.ok and len(got.json()["text"]) != LENGTH:
                got.failure("the text is too short")
