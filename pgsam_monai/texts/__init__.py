"""The texts of a bundle, and who writes them: people, or a language model."""
