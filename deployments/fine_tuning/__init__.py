"""Fine-tuning: files of examples, the life of jobs, and what becomes of their results."""
