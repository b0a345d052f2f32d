//! A recurrent layer that reads the window in both directions.

use burn::tensor::{Tensor, TensorData};

use super::fused::{Fused, Ops, dims, fits, primitive, tensor, values};
use super::kernels::lstm::{self, Direction, Sizes, Trace};
use super::{composed, kernels};

/// One layer of a bidirectional LSTM, from zero state.
///
/// With gates in PyTorch's order `i f g o`, for each direction:
/// `[i f g o] = x_t w_ih + h_tm1 w_hh + bias`, `c_t = sigmoid(f) c_tm1 + sigmoid(i) tanh(g)`, `h_t = sigmoid(o) tanh(c_t)`.
///
/// # Shapes
/// `x [batch, time, in]`, `w_ih [2, in, 4 h]`, `w_hh [2, h, 4 h]`, `bias [2, 4 h]` (index 0 walks forward, 1 backward)
/// -> `[batch, time, 2 h]`, forward half first. Differs from PyTorch in that the weights are transposed and the two biases summed.
///
/// # Panics
/// Where the shapes do not fit each other.
pub fn bilstm<B: Ops>(x: Tensor<B, 3>, w_ih: Tensor<B, 3>, w_hh: Tensor<B, 3>, bias: Tensor<B, 2>) -> Tensor<B, 3> {
    let [_, _, width_in] = x.dims();
    let [_, hidden, _] = w_hh.dims();
    assert_eq!(w_hh.dims(), [2, hidden, 4 * hidden], "w_hh must be [2, hidden, 4 * hidden]");
    assert_eq!(w_ih.dims(), [2, width_in, 4 * hidden], "w_ih must be [2, in, 4 * hidden]");
    assert_eq!(bias.dims(), [2, 4 * hidden], "bias must be [2, 4 * hidden]");
    if fits(&x) {
        tensor(B::run(BiLstm, [primitive(x), primitive(w_ih), primitive(w_hh), primitive(bias)]))
    } else {
        composed::bilstm(x, w_ih, w_hh, bias)
    }
}

struct BiLstm;

struct Saved {
    sizes: Sizes,
    /// `[time, batch, in]`: steps outermost, so that each step's rows lie together.
    x: Vec<f32>,
    traces: [Trace; 2],
    w_ih: TensorData,
    w_hh: TensorData,
}

/// The weights of one of the two directions.
fn half(data: &TensorData, direction: Direction) -> &[f32] {
    let all = values(data);
    let (forward, backward) = all.split_at(all.len() / 2);
    match direction {
        Direction::Forward => forward,
        Direction::Backward => backward,
    }
}

impl Fused<4> for BiLstm {
    type Saved = Saved;

    fn forward(&self, [x, w_ih, w_hh, bias]: [TensorData; 4], keep: bool) -> (TensorData, Option<Saved>) {
        let [batch, time, width_in] = dims(&x);
        let [_, hidden, _] = dims(&w_hh);
        let sizes = Sizes { batch, time, width_in, hidden };
        let mut y = vec![0.0; batch * time * 2 * hidden];
        if !keep {
            lstm::infer(sizes, values(&x), Direction::BOTH.map(|way| [half(&w_ih, way), half(&w_hh, way), half(&bias, way)]), &mut y);
            return (TensorData::new(y, [batch, time, 2 * hidden]), None);
        }
        let x = kernels::swap_leading(values(&x), [batch, time, width_in]);
        let traces = Direction::BOTH.map(|way| {
            let trace = lstm::forward(sizes, way, &x, half(&w_ih, way), half(&w_hh, way), half(&bias, way));
            lstm::put_half(sizes, way, &trace.h, &mut y);
            trace
        });
        (TensorData::new(y, [batch, time, 2 * hidden]), Some(Saved { sizes, x, traces, w_ih, w_hh }))
    }

    fn backward(&self, saved: &Saved, dy: TensorData, wanted: [bool; 4]) -> [Option<TensorData>; 4] {
        let Saved { sizes, x, traces, w_ih, w_hh } = saved;
        let Sizes { batch, time, width_in, hidden } = *sizes;
        let mut dw_ih = Vec::with_capacity(2 * width_in * 4 * hidden);
        let mut dw_hh = Vec::with_capacity(2 * hidden * 4 * hidden);
        let mut dbias = Vec::with_capacity(2 * 4 * hidden);
        let mut dx = if wanted[0] { vec![0.0; x.len()] } else { Vec::new() };
        for (way, trace) in Direction::BOTH.into_iter().zip(traces) {
            let dh = lstm::take_half(*sizes, way, values(&dy));
            let dgates = lstm::backward_gates(*sizes, way, trace, half(w_hh, way), dh);
            let gradients = lstm::backward_weights(*sizes, way, x, trace, &dgates);
            dw_ih.extend(gradients.w_ih);
            dw_hh.extend(gradients.w_hh);
            dbias.extend(gradients.bias);
            if wanted[0] {
                lstm::add_backward_input(*sizes, &dgates, half(w_ih, way), &mut dx);
            }
        }
        [
            wanted[0].then(|| TensorData::new(kernels::swap_leading(&dx, [time, batch, width_in]), [batch, time, width_in])),
            Some(TensorData::new(dw_ih, [2, width_in, 4 * hidden])),
            Some(TensorData::new(dw_hh, [2, hidden, 4 * hidden])),
            Some(TensorData::new(dbias, [2, 4 * hidden])),
        ]
    }
}
