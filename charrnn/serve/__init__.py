"""Models that stay loaded and answer requests, over HTTP or as lines of JSON; samples of all requests share a batch.

requests   parse a request and validate its fields
batch      samples of several requests, drawn side by side
worker     the thread that runs a batch
notifier   wakes the requests whose samples have grown
scoring    lines of several requests, scored together
deadlines  end requests that take too long
service    answers requests
web        the service over HTTP, as an ASGI application
server     runs that application on a socket, with uvicorn
stdio      the service as lines of JSON
"""
