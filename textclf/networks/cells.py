"""Equations of the recurrent cells in NumPy: states, gates, backpropagation through time.

They describe the layers of a network on a few texts, without a graph. The gates of step t depend on
the input x_t and the state h_{t-1} only, so the gates of all steps are computed at once; states and
gradients need a loop over the steps.

x_t and h_t are row vectors, W multiplies the input, U the previous state, b and d are biases; "*"
multiplies entry by entry. For a quantity v, dv is the gradient of a number L with respect to v; for
a gate v = sigmoid(a), da = dv * v * (1 - v). The gradient goes from step t to step t - 1:

SimpleRNN   h = tanh(a), a = x W + h' U + b, with h' = h_{t-1}

            da = dh * (1 - h^2)             dh' = da U^T              dx = da W^T

LSTM        h = o * tanh(c), c = f * c' + i * g; i, f, g and o from x W + h' U + b

            dc = dc + dh * o * (1 - tanh(c)^2)           do = dh * tanh(c)
            di = dc * g           df = dc * c'           dg = dc * i
            dc' = dc * f          dh' = da U^T           dx = da W^T

GRU         h = z * h' + (1 - z) * g; z, r = sigmoid(x W + b + h' U + d)

            dz = dh * (h' - g)                 dg = dh * (1 - z), da_g = dg * (1 - g^2)
   after    g = tanh(x W_g + b_g + r * u), u = h' U_g + d_g: dr = da_g * u, du = da_g * r
   before   g = tanh(x W_g + b_g + q U_g), q = r * h':       dq = da_g U_g^T, dr = dq * h'
            dh' = dh * z + (what z, r, and u or q give)      dx = da W^T

"after" and "before" are the positions of the reset gate: `model.reset_after`. In dc' of an LSTM and
in dh * z of a GRU no matrix is applied: where f or z is near 1, the gradient does not vanish.
"""

import keras
import numpy as np


def states(layer: keras.layers.RNN, x: np.ndarray) -> np.ndarray:
    """Return the states of a layer in inference.

    Args:
        layer: LSTM, GRU or SimpleRNN; always read from the first step to the last.
        x: inputs, float32 [B, T, E].

    Returns:
        float32 [B, T, units].
    """
    W, U, b, d = _weights(layer)
    a = np.ascontiguousarray(x.swapaxes(0, 1)) @ W + b  # [T, B, kernels * units]
    units = layer.units
    h = np.zeros((len(x), units), x.dtype)
    c = np.zeros_like(h)
    hs = []
    for a_t in a:
        u = h @ U + d
        if isinstance(layer, keras.layers.LSTM):
            i, f, g, o = np.split(a_t + u, 4, axis=-1)
            c = _sigmoid(f) * c + _sigmoid(i) * np.tanh(g)
            h = _sigmoid(o) * np.tanh(c)
        elif isinstance(layer, keras.layers.GRU):
            z, r = np.split(_sigmoid((a_t + u)[:, : 2 * units]), 2, axis=-1)
            of_state = r * u[:, 2 * units :]
            if not layer.cell.reset_after:
                of_state = (r * h) @ U[:, 2 * units :]
            h = z * h + (1 - z) * np.tanh(a_t[:, 2 * units :] + of_state)
        else:
            h = np.tanh(a_t + u)
        hs.append(h)
    return np.stack(hs, axis=1)


def gates(layer: keras.layers.RNN, x: np.ndarray, h: np.ndarray) -> dict[str, np.ndarray]:
    """Return the gates of all steps by name; none for a SimpleRNN.

    Args:
        layer: LSTM, GRU or SimpleRNN.
        x: inputs of the layer, float32 [B, T, E].
        h: its states, float32 [B, T, units].

    Returns:
        float32 [B, T, units], between 0 and 1: input, forget and output, or update and reset.
    """
    W, U, b, d = _weights(layer)
    a = x @ W + _before(h) @ U + (b + d)
    if isinstance(layer, keras.layers.LSTM):
        i, f, _, o = np.split(a, 4, axis=-1)
        return {"input": _sigmoid(i), "forget": _sigmoid(f), "output": _sigmoid(o)}
    if isinstance(layer, keras.layers.GRU):
        z, r, _ = np.split(a, 3, axis=-1)
        return {"update": _sigmoid(z), "reset": _sigmoid(r)}
    return {}


def input_gradients(
    layer: keras.layers.RNN, x: np.ndarray, h: np.ndarray, *, upstream: np.ndarray
) -> np.ndarray:
    """Return the gradient with respect to the inputs, by backpropagation through time.

    Args:
        layer, x, h: as for `gates`.
        upstream: gradient with respect to the states, float32 [B, T, units].

    Returns:
        float32 [B, T, E].
    """
    x, h, upstream = (np.ascontiguousarray(v.swapaxes(0, 1)) for v in (x, h, upstream))
    if isinstance(layer, keras.layers.LSTM):
        backpropagate = _backpropagate_lstm
    elif isinstance(layer, keras.layers.GRU):
        backpropagate = _backpropagate_gru
    else:
        backpropagate = _backpropagate_simple_rnn
    return backpropagate(layer, x, h, upstream).swapaxes(0, 1)


# The functions below have arrays [T, B, ...] and the names of the equations above.


def _backpropagate_simple_rnn(
    layer: keras.layers.RNN, x: np.ndarray, h: np.ndarray, upstream: np.ndarray
) -> np.ndarray:
    W, U, _, _ = _weights(layer)
    slope = 1 - h**2
    das = np.empty_like(h)
    dh = np.zeros_like(h[0])
    for t in reversed(range(len(x))):
        das[t] = (dh + upstream[t]) * slope[t]
        dh = das[t] @ U.T
    return das @ W.T


def _backpropagate_lstm(
    layer: keras.layers.RNN, x: np.ndarray, h: np.ndarray, upstream: np.ndarray
) -> np.ndarray:
    W, U, b, _ = _weights(layer)
    a = x @ W + _before(h, axis=0) @ U + b
    i, f, g, o = np.split(a, 4, axis=-1)
    i, f, g, o = _sigmoid(i), _sigmoid(f), np.tanh(g), _sigmoid(o)
    c = np.zeros((len(x) + 1, *h[0].shape), h.dtype)  # c[t + 1] is that of step t
    for t in range(len(x)):
        c[t + 1] = f[t] * c[t] + i[t] * g[t]
    tanh_c = np.tanh(c[1:])
    into_c = o * (1 - tanh_c**2)
    # Factors of dc, dc, dc and dh in the gradients of the arguments of i, f, g and o.
    of_dc = np.concatenate([g * i * (1 - i), c[:-1] * f * (1 - f), i * (1 - g**2)], axis=-1)
    of_dh = tanh_c * o * (1 - o)
    das = np.empty_like(a)
    dh, dc = np.zeros_like(h[0]), np.zeros_like(h[0])
    for t in reversed(range(len(x))):
        dh = dh + upstream[t]
        dc = dc + dh * into_c[t]
        das[t] = np.concatenate([np.tile(dc, 3) * of_dc[t], dh * of_dh[t]], axis=-1)
        dh, dc = das[t] @ U.T, dc * f[t]
    return das @ W.T


def _backpropagate_gru(
    layer: keras.layers.RNN, x: np.ndarray, h: np.ndarray, upstream: np.ndarray
) -> np.ndarray:
    W, U, b, d = _weights(layer)
    units, before, is_after = layer.units, _before(h, axis=0), layer.cell.reset_after
    a, u = x @ W + b, before @ U + d
    z = _sigmoid(a[..., :units] + u[..., :units])
    r = _sigmoid(a[..., units : 2 * units] + u[..., units : 2 * units])
    U_g, a_g, u_g = U[:, 2 * units :], a[..., 2 * units :], u[..., 2 * units :]
    g = np.tanh(a_g + (r * u_g if is_after else (r * before) @ U_g))
    z_slope, r_slope, g_slope = z * (1 - z), r * (1 - r), 1 - g**2
    das = np.empty_like(a)
    dh = np.zeros_like(h[0])
    for t in reversed(range(len(x))):
        dh = dh + upstream[t]
        da_z = dh * (before[t] - g[t]) * z_slope[t]
        da_g = dh * (1 - z[t]) * g_slope[t]
        if is_after:
            da_r = da_g * u_g[t] * r_slope[t]
            of_candidate = (da_g * r[t]) @ U_g.T
        else:
            dq = da_g @ U_g.T
            da_r = dq * before[t] * r_slope[t]
            of_candidate = dq * r[t]
        das[t] = np.concatenate([da_z, da_r, da_g], axis=-1)
        dh = dh * z[t] + das[t, :, : 2 * units] @ U[:, : 2 * units].T + of_candidate
    return das @ W.T


def _weights(layer: keras.layers.RNN) -> tuple[np.ndarray, np.ndarray, np.ndarray, np.ndarray]:
    """Return W, U, b and d of a layer; d is zero except in a GRU with `reset_after`."""
    W, U, b = (variable.numpy() for variable in layer.cell.weights)
    b, d = b if b.ndim == 2 else (b, np.zeros_like(b))
    return W, U, b, d


def _before(h: np.ndarray, axis: int = 1) -> np.ndarray:
    """Return the state before each step, which is zero before the first one."""
    before = np.zeros_like(h)
    if axis:
        before[:, 1:] = h[:, :-1]
    else:
        before[1:] = h[:-1]
    return before


def _sigmoid(x: np.ndarray) -> np.ndarray:
    return 0.5 * (1 + np.tanh(0.5 * x))  # without overflow
