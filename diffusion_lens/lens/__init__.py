"""Looking: from a prompt to its layers, their images and the table behind them."""
