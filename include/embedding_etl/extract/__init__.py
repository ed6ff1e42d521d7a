"""Object -> segments, one module a modality. Runs in decoder processes only: a hostile file ends there."""
