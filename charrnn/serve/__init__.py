"""Models that stay loaded and answer requests, which share a batch: by HTTP, or by lines of JSON.

batch    texts of several requests, of which every step writes a character each
worker   the thread that takes these steps
served   a model with that thread
asks     a request as JSON gives it -> its fields, checked against types and limits
service  requests -> answers
web      the service by HTTP, as an ASGI application
server   that application on a socket, by uvicorn
stdio    the service by lines of JSON
"""
