"""Models that stay loaded and answer requests, over HTTP or as lines of JSON; samples of all requests share a batch.

requests   the fields of each request, and how they are read and validated
batch      samples of several requests, drawn side by side
worker     the threads that run batches
notifier   wakes the requests whose samples have grown
logprobs   the log-probabilities of a prompt, and of the most likely characters
pieces     a growing sample, piece by piece
scoring    lines of several requests, scored together
deadlines  end requests that take too long
service    answers requests
openai     the answers of OpenAI's completions protocol
openapi    the paths, and their description
web        the service over HTTP, as a Starlette application
server     runs that application on a socket, with uvicorn
stdio      the service as lines of JSON
"""
