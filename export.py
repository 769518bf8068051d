"""Write a trained model as a file: ``python export.py checkpoint=RUN format=onnx``."""

from learned_saliency.pipeline import main

if __name__ == "__main__":
    main("export")
