"""The optimizers, one function for each value of `--optimizer`, and gradient clipping.

An optimizer keeps no arrays: `init` returns its state, and `update` changes that and the parameters in place. The
learning rate is an argument of every update, so a schedule cannot affect the moments. `step` is the number of updates
done before this one. Weight decay applies to matrices, never to biases. The parameters of `sgd`, `adam` and the others
have the names of the settings that they get.
"""

from __future__ import annotations

import math
from collections.abc import Callable
from dataclasses import dataclass

import numpy as np

from charrnn.arrays import Array, Params
from charrnn.nn import compiled

#: The update of one parameter: (its slots, parameter, gradient, learning rate, step) changes parameter and slots.
UpdateOne = Callable[[list[Array], Array, Array, float, int], None]


@dataclass(frozen=True)
class Optimizer:
    """A rule for updating parameters from their gradients.

    slots    the names of the arrays that the rule keeps for each parameter
    rule     the update of one parameter
    decay    weight decay
    coupled  True: decay is added to the gradient (L2); False: it shrinks the weight directly (decoupled)
    average  the weight of the past in the running mean of the parameters; 0 keeps no mean
    """

    slots: tuple[str, ...]
    rule: UpdateOne
    decay: float = 0.0
    coupled: bool = True
    average: float = 0.0

    def init(self, params: Params) -> Params:
        """Return the state before the first update: zeros under the names `slot/parameter`."""
        return {f"{slot}/{name}": np.zeros_like(array) for slot in self.state_names for name, array in params.items()}

    @property
    def state_names(self) -> tuple[str, ...]:
        """Return the names of all arrays in the state: the slots, and the running mean if there is one."""
        return (*self.slots, "average") if self.average else self.slots

    def update(self, params: Params, grads: Params, state: Params, lr: float, step: int) -> None:
        """Change the parameters and the state in place; the gradients may be overwritten."""
        for name, param in params.items():
            grad = grads[name]
            if self.decay and param.ndim > 1:
                if self.coupled:
                    grad += self.decay * param
                else:
                    param *= 1 - lr * self.decay
            self.rule([state[f"{slot}/{name}"] for slot in self.slots], param, grad, lr, step)
            if self.average:
                mean = state[f"average/{name}"]
                if core := compiled.core():
                    core.average(param.size, mean, param, self.average)
                else:
                    mean *= self.average
                    mean += np.multiply(param, 1 - self.average, out=grad)

    def averaged(self, state: Params, step: int) -> Params:
        """Return the running mean of the parameters after `step` updates; recent ones weigh most.

        mean = average mean + (1 - average) p, from zero; divided by 1 - average^step, the sum of these weights
        Source:  Polyak & Juditsky 1992; the correction as in Kingma & Ba 2015.
        """
        weight = 1 - self.average**step
        return {
            name.removeprefix("average/"): mean / weight for name, mean in state.items() if name.startswith("average/")
        }


def sgd(momentum: float = 0.9, weight_decay: float = 0.0, average: float = 0.0) -> Optimizer:
    """Return stochastic gradient descent with momentum.

    m = momentum m + g;  p = p - lr m
    """

    def rule(slots: list[Array], param: Array, grad: Array, lr: float, step: int) -> None:
        (m,) = slots
        m *= momentum
        m += grad
        param -= lr * m

    return Optimizer(("m",), rule, weight_decay, average=average)


def adagrad(weight_decay: float = 0.0, average: float = 0.0) -> Optimizer:
    """Return Adagrad.

    v = v + g^2;  p = p - lr g / (sqrt(v) + 1e-10)
    Source:  Duchi et al. 2011.
    """

    def rule(slots: list[Array], param: Array, grad: Array, lr: float, step: int) -> None:
        (v,) = slots
        v += grad * grad
        param -= lr * grad / (np.sqrt(v) + 1e-10)

    return Optimizer(("v",), rule, weight_decay, average=average)


def rmsprop(beta2: float = 0.99, weight_decay: float = 0.0, average: float = 0.0) -> Optimizer:
    """Return RMSProp.

    v = beta2 v + (1 - beta2) g^2;  p = p - lr g / (sqrt(v) + 1e-8)
    Source:  Tieleman & Hinton 2012.
    """

    def rule(slots: list[Array], param: Array, grad: Array, lr: float, step: int) -> None:
        (v,) = slots
        v *= beta2
        v += (1 - beta2) * grad * grad
        param -= lr * grad / (np.sqrt(v) + 1e-8)

    return Optimizer(("v",), rule, weight_decay, average=average)


def adam(beta1: float = 0.9, beta2: float = 0.999, weight_decay: float = 0.0, average: float = 0.0) -> Optimizer:
    """Return Adam.

    m = beta1 m + (1 - beta1) g;  v = beta2 v + (1 - beta2) g^2
    p = p - lr (m / (1 - beta1^n)) / (sqrt(v / (1 - beta2^n)) + 1e-8), with n the number of this update from 1
    Source:  Kingma & Ba 2015.
    """

    def rule(slots: list[Array], param: Array, grad: Array, lr: float, step: int) -> None:
        m, v = slots
        rate, correction = lr / (1 - beta1 ** (step + 1)), math.sqrt(1 - beta2 ** (step + 1))
        if core := compiled.core():
            core.adam(param.size, param, np.ascontiguousarray(grad), m, v, beta1, beta2, rate, correction)
            return
        m *= beta1
        m += (1 - beta1) * grad
        v *= beta2
        grad *= grad
        grad *= 1 - beta2
        v += grad
        root = np.sqrt(v, out=grad)
        root /= correction
        root += 1e-8
        np.divide(m, root, out=root)
        root *= rate
        param -= root

    return Optimizer(("m", "v"), rule, weight_decay, average=average)


def adamw(beta1: float = 0.9, beta2: float = 0.999, weight_decay: float = 0.01, average: float = 0.0) -> Optimizer:
    """Return Adam with decoupled weight decay.

    p = p (1 - lr decay), then Adam's update
    Source:  Loshchilov & Hutter 2019.
    """
    return Optimizer(("m", "v"), adam(beta1, beta2).rule, weight_decay, coupled=False, average=average)


OPTIMIZERS: dict[str, Callable[..., Optimizer]] = {
    "sgd": sgd,
    "rmsprop": rmsprop,
    "adagrad": adagrad,
    "adam": adam,
    "adamw": adamw,
}


def norms_by_layer(grads: Params) -> dict[str, float]:
    """Return the Euclidean norm of the gradients by layer (embed, layer0, …, out); arrays add up in float64."""
    squares: dict[str, float] = {}
    for name, grad in reversed(grads.items()):  # the backward pass computes the first layer last
        layer = name.partition(".")[0]
        squares[layer] = squares.get(layer, 0.0) + float(np.vdot(grad, grad))
    return {layer: math.sqrt(square) for layer, square in squares.items()}


def global_norm(norms: dict[str, float]) -> float:
    """Return the Euclidean norm of all gradients together, given the norms by layer."""
    return math.hypot(*norms.values())


def clip_by_global_norm(grads: Params, max_norm: float) -> dict[str, float]:
    """Scale the gradients in place so that their global norm is at most `max_norm`; return the earlier norms by layer.

    Source:  Pascanu et al. 2013.
    """
    norms = norms_by_layer(grads)
    norm = global_norm(norms)
    if norm > max_norm:
        for grad in grads.values():
            grad *= max_norm / norm
    return norms


def clip_by_value(grads: Params, limit: float) -> None:
    """Limit each element of the gradients to -limit .. limit, in place."""
    for grad in grads.values():
        np.clip(grad, -limit, limit, out=grad)


def clip(grads: Params, max_value: float, max_norm: float) -> tuple[dict[str, float], bool]:
    """Clip the elements of the gradients, then their global norm, in place; a limit of 0 does not clip.

    Returns the norms by layer before clipping, and whether clipping changed the gradients.
    """
    max_norm = max_norm or math.inf
    if max_value:
        norms = norms_by_layer(grads)
        clip_by_value(grads, max_value)
        clipped = clip_by_global_norm(grads, max_norm)
    else:
        norms = clipped = clip_by_global_norm(grads, max_norm)
    return norms, clipped != norms or global_norm(clipped) > max_norm
