"""One run of one scenario on one pool: its process, clients, recorder and folder."""
