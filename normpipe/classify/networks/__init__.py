"""The classifiers' networks: from the pictures of a sample to a Prediction."""
