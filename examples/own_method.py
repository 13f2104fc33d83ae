"""Train a method of your own on an array, and use the embeddings.

python examples/own_method.py
"""

from sklearn.datasets import load_digits

import tacit
from tacit.encoders import MLPHead
from tacit.losses import vicreg_loss
from tacit.methods.base import Losses, Method, Paper


class MyVICReg(Method):
    """VICReg with a small projector."""

    paper = Paper("VICReg", "Bardes, Ponce, LeCun", 2022, "https://arxiv.org/abs/2105.04906")

    def __init__(self, encoder, config):
        super().__init__(encoder, config)
        self.projector = MLPHead([encoder.dim, 256, 128])

    def project(self, x):
        return self.projector(self.encoder(x))

    def training_loss(self, batch):
        z1, z2 = (self.project(view) for view in batch.views)
        return Losses(vicreg_loss(z1, z2))


if __name__ == "__main__":
    images = (load_digits().images / 16).astype("float32")
    run = tacit.pretrain(MyVICReg, images, steps=50, batch_size=128, lr=0.05)
    print(run.embed(images).shape, run.status["rankme"])
