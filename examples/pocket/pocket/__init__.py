"""Recipe of the pocket model: workspaces, simulator, tokenizer, training, export, evaluation."""
