"""A model behind an OpenAI-compatible endpoint, on loopback: always the same answers, plain or streamed.

Stands in for a provider while a viewer is tried (standard library only).
"""

import json
import threading
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer

USAGE = {
    "prompt_tokens": 120,
    "completion_tokens": 12,
    "total_tokens": 132,
    "prompt_tokens_details": {"cached_tokens": 64},
}
ANSWER = "It is 7 degrees and raining in Oslo."
TOOL_CALL = {
    "id": "call_1",
    "type": "function",
    "function": {"name": "weather", "arguments": json.dumps({"city": "Oslo"})},
}


class Model(BaseHTTPRequestHandler):
    protocol_version = "HTTP/1.1"

    def log_message(self, *_):
        pass

    def do_POST(self):
        request = json.loads(self.rfile.read(int(self.headers["content-length"])))
        if request.get("model") == "broken":
            return self.reply(429, {"error": {"message": "slow down", "type": "rate_limit_error", "code": "rate_limit_exceeded"}})
        if request.get("stream"):
            return self.stream(request)
        asked = request.get("tools") and all(m["role"] != "tool" for m in request["messages"])
        message = {"role": "assistant", "content": None if asked else ANSWER}
        if asked:
            message["tool_calls"] = [TOOL_CALL]
        choice = {"index": 0, "message": message, "finish_reason": "tool_calls" if asked else "stop"}
        self.reply(200, {**self.envelope(request, "chat.completion"), "choices": [choice], "usage": USAGE})

    def envelope(self, request, kind):
        return {"id": "chatcmpl-1", "object": kind, "created": 1, "model": request["model"]}

    def reply(self, status, body):
        body = json.dumps(body).encode()
        self.send_response(status)
        self.send_header("content-type", "application/json")
        self.send_header("content-length", str(len(body)))
        self.end_headers()
        self.wfile.write(body)

    def stream(self, request):
        self.send_response(200)
        self.send_header("content-type", "text/event-stream")
        self.send_header("transfer-encoding", "chunked")
        self.end_headers()
        head = self.envelope(request, "chat.completion.chunk")
        for word in ANSWER.split(" "):
            self.event({**head, "choices": [{"index": 0, "delta": {"content": word + " "}, "finish_reason": None}]})
        self.event({**head, "choices": [{"index": 0, "delta": {}, "finish_reason": "stop"}]})
        self.event({**head, "choices": [], "usage": USAGE})
        self.chunk(b"data: [DONE]\n\n")
        self.chunk(b"")

    def event(self, data):
        self.chunk(b"data: " + json.dumps(data).encode() + b"\n\n")

    def chunk(self, data):
        self.wfile.write(f"{len(data):x}\r\n".encode() + data + b"\r\n")


def serve():
    """Starts the model in a thread; returns its base URL."""
    server = ThreadingHTTPServer(("127.0.0.1", 0), Model)
    threading.Thread(target=server.serve_forever, daemon=True).start()
    return f"http://127.0.0.1:{server.server_port}/v1"
