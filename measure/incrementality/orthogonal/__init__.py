"""Double machine learning: effects that small errors in predicting the outcome hardly move."""
