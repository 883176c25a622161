"""The pages: server-rendered, every asset local."""
