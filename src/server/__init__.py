"""What stands between the network and Gradio: `lifespan`, given to launch(), puts it there
(src/server/middleware.py)."""
