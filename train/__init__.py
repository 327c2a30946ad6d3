"""What makes a checkpoint. May import `src`; the running app never imports this."""
