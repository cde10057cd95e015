"""From a trained Keras model to a folder that a server, `kapps.load` and a reader can use: see `saved_model.export`."""
