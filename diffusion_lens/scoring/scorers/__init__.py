"""Who answers: one module per scorer."""
