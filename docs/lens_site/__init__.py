"""Extensions that make the documents from the code: pages of a kind, pictures, and code that is run."""
