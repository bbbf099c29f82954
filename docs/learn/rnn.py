"""A complete character-level recurrent net: it reads a text, learns to predict the next character, and writes.

python docs/learn/rnn.py data/ferry.txt     (T time steps, B batch rows, H hidden units, V characters)
"""

import fileinput

import numpy as np

T, B, H, STEPS, MAX_NORM = 40, 32, 128, 2000, 1.0


def init_params(V, H, rng):
    """Draw the weights; W_hh is orthogonal: it neither stretches nor shrinks the state."""
    W_xh, W_hy = rng.normal(size=(V, H)), rng.normal(size=(H, V)) / np.sqrt(H)
    W_hh, _ = np.linalg.qr(rng.normal(size=(H, H)))
    return {"W_xh": W_xh, "W_hh": W_hh, "b_h": np.zeros(H), "W_hy": W_hy, "b_y": np.zeros(V)}


def forward(params, inputs, h0):
    """Return the states (T+1, B, H), from h0 on, and the log-probabilities (T, B, V) of each next character."""
    h = np.empty((len(inputs) + 1, *h0.shape))
    h[0] = h0
    for t in range(len(inputs)):
        h[t + 1] = np.tanh(params["W_xh"][inputs[t]] + h[t] @ params["W_hh"] + params["b_h"])
    logits = h[1:] @ params["W_hy"] + params["b_y"]
    logits -= logits.max(axis=-1, keepdims=True)  # changes no probability, and exp cannot overflow
    return h, logits - np.log(np.exp(logits).sum(axis=-1, keepdims=True))


def gradients(params, inputs, targets, h0):
    """Return the mean loss of a window in nats per character, its gradients by name, and the last state."""
    h, log_probs = forward(params, inputs, h0)
    right = (*np.indices(targets.shape), targets)  # where log_probs has the true next characters
    loss = -log_probs[right].mean()
    dlogits = np.exp(log_probs) / targets.size
    dlogits[right] -= 1 / targets.size
    grads = {name: np.zeros_like(param) for name, param in params.items()}
    dh_next = np.zeros_like(h0)  # the future beyond the window is ignored
    for t in reversed(range(len(inputs))):
        grads["W_hy"] += h[t + 1].T @ dlogits[t]
        grads["b_y"] += dlogits[t].sum(axis=0)
        dh = dlogits[t] @ params["W_hy"].T + dh_next
        da = dh * (1 - h[t + 1] ** 2)
        np.add.at(grads["W_xh"], inputs[t], da)
        grads["W_hh"] += h[t].T @ da
        grads["b_h"] += da.sum(axis=0)
        dh_next = da @ params["W_hh"].T
    return loss, grads, h[-1]


def clip(grads, max_norm):
    """Shorten the gradient, all arrays as one vector, to max_norm if it is longer."""
    norm = np.sqrt(sum((grad**2).sum() for grad in grads.values()))
    for grad in grads.values():
        grad *= min(1, max_norm / norm)


def adam(params, grads, m, v, rate, n):
    """Update the parameters for the n-th time, n = 1, 2, …; m and v are running means of grad and grad squared."""
    for name, grad in grads.items():
        m[name] += 0.1 * (grad - m[name])
        v[name] += 0.001 * (grad**2 - v[name])
        params[name] -= rate * (m[name] / (1 - 0.9**n)) / (np.sqrt(v[name] / (1 - 0.999**n)) + 1e-8)


def train(ids, params, steps=STEPS, rate=0.005):
    """Yield the loss of each step; change the parameters in place."""
    m, v = ({name: np.zeros_like(param) for name, param in params.items()} for _ in range(2))
    h = np.zeros((B, len(params["W_hh"])))
    length = (len(ids) - 1) // B // T * T  # each row reads its own stretch of the text, in whole windows
    for step in range(steps):
        at = step * T % length
        places = np.arange(B) * length + np.arange(at, at + T)[:, None]  # (T, B)
        loss, grads, h = gradients(params, ids[places], ids[places + 1], h * (at > 0))
        clip(grads, MAX_NORM)
        adam(params, grads, m, v, rate * (1 - step / steps), step + 1)
        yield loss


def sample(params, chars, length, rng, temperature=0.6):
    """Return text that the net writes after a line end, one character after another."""
    h, i, text = np.zeros((1, len(params["W_hh"]))), chars.index("\n"), ""
    for _ in range(length):
        states, log_probs = forward(params, np.array([[i]]), h)
        p = np.exp(log_probs[0, 0] / temperature)
        h, i = states[-1], rng.choice(len(chars), p=p / p.sum())
        text += chars[i]
    return text


if __name__ == "__main__":
    text = "".join(fileinput.input(encoding="utf-8"))
    chars, rng = sorted(set(text)), np.random.default_rng(1)
    params, ids = init_params(len(chars), H, rng), np.array([chars.index(char) for char in text])
    for step, loss in enumerate(train(ids, params)):
        if step % 200 == 0:
            print(f"step {step:4}  loss {loss:.3f}  {sample(params, chars, 60, rng)!r}")
    print(sample(params, chars, 600, rng))
