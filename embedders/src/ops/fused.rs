//! One operation of ours on Burn's tape: read the inputs as slices, run a kernel, register its backward pass.
//!
//! In: a [`Fused`] operation and its input tensors. Out: the output tensor. This file knows Burn's autodiff and no formula;
//! the files beside it know formulas and no autodiff.

use std::fmt;
use std::sync::Arc;

use burn::backend::Autodiff;
use burn::backend::autodiff::checkpoint::{base::Checkpointer, strategy::CheckpointStrategy};
use burn::backend::autodiff::grads::Gradients;
use burn::backend::autodiff::ops::{Backward, Ops as Parents, OpsKind};
use burn::tensor::backend::Backend;
use burn::tensor::ops::{FloatTensor, FloatTensorOps};
use burn::tensor::{DType, Tensor, TensorData, TensorMetadata, TensorPrimitive};

use crate::device::{self, Device, Infer};

/// A backend that can run the operations of this module: [`Infer`] and [`Train`](crate::device::Train).
pub trait Ops: Backend<Device = Device> {
    /// Runs a fused operation; for inputs that [`fits`] accepts.
    #[doc(hidden)]
    fn run<F: Fused<N>, const N: usize>(operation: F, inputs: [FloatTensor<Self>; N]) -> FloatTensor<Self>;
}

/// A function of `N` tensors with a backward pass of its own, in slices. All tensors are contiguous `f32`.
pub trait Fused<const N: usize>: Send + Sync + 'static {
    /// What the backward pass needs of the forward pass.
    type Saved: Send + Sync + 'static;

    /// The output, and what to keep where `keep` says that a backward pass may follow.
    fn forward(&self, inputs: [TensorData; N], keep: bool) -> (TensorData, Option<Self::Saved>);

    /// From the gradient of the output to the gradient of every input that is `wanted`.
    fn backward(&self, saved: &Self::Saved, dy: TensorData, wanted: [bool; N]) -> [Option<TensorData>; N];
}

/// Whether the kernels can run on this tensor: `f32` in CPU memory.
pub(super) fn fits<B: Ops, const D: usize>(x: &Tensor<B, D>) -> bool {
    device::is_cpu(&x.device()) && x.dtype() == DType::F32
}

/// The primitive inside a float tensor.
pub(super) fn primitive<B: Backend, const D: usize>(x: Tensor<B, D>) -> FloatTensor<B> {
    x.into_primitive().tensor()
}

/// The tensor around a float primitive.
pub(super) fn tensor<B: Backend, const D: usize>(x: FloatTensor<B>) -> Tensor<B, D> {
    Tensor::from_primitive(TensorPrimitive::Float(x))
}

/// A tensor's numbers.
pub(super) fn values(data: &TensorData) -> &[f32] {
    data.as_slice().expect("Invariant: only f32 tensors reach the kernels")
}

/// A tensor's numbers, to be changed in place.
pub(super) fn values_mut(data: &mut TensorData) -> &mut [f32] {
    data.as_mut_slice().expect("Invariant: only f32 tensors reach the kernels")
}

/// A tensor's shape, of known rank.
pub(super) fn dims<const D: usize>(data: &TensorData) -> [usize; D] {
    data.shape.dims()
}

impl Ops for Infer {
    fn run<F: Fused<N>, const N: usize>(operation: F, inputs: [FloatTensor<Self>; N]) -> FloatTensor<Self> {
        let device = Infer::float_device(&inputs[0]);
        let (output, _) = operation.forward(inputs.map(read), false);
        Infer::float_from_data(output, &device)
    }
}

impl<C: CheckpointStrategy> Ops for Autodiff<Infer, C> {
    fn run<F: Fused<N>, const N: usize>(operation: F, inputs: [FloatTensor<Self>; N]) -> FloatTensor<Self> {
        let device = Infer::float_device(&inputs[0].primitive);
        let nodes = inputs.each_ref().map(|input| input.node.clone());
        // The primitives are moved out, not cloned: a buffer that nobody else holds is then read without a copy.
        let slices = inputs.map(|input| read(input.primitive));
        match FusedBackward::<F>::NEW.prepare::<C>(nodes).compute_bound().stateful() {
            OpsKind::Tracked(preparation) => {
                let (output, saved) = operation.forward(slices, true);
                let saved = saved.expect("Invariant: a forward pass that was told to keep returns what it kept");
                preparation.finish(Kept(Arc::new((operation, saved))), Infer::float_from_data(output, &device))
            }
            OpsKind::UnTracked(preparation) => {
                let (output, _) = operation.forward(slices, false);
                preparation.finish(Infer::float_from_data(output, &device))
            }
        }
    }
}

/// The backward pass as Burn wants it: a value without state, beside a state that can be cloned and printed.
struct FusedBackward<F>(std::marker::PhantomData<fn() -> F>);

struct Kept<F, S>(Arc<(F, S)>);

impl<F> FusedBackward<F> {
    const NEW: Self = Self(std::marker::PhantomData);
}

impl<F> fmt::Debug for FusedBackward<F> {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(std::any::type_name::<F>())
    }
}

impl<F, S> fmt::Debug for Kept<F, S> {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(std::any::type_name::<S>())
    }
}

impl<F, S> Clone for Kept<F, S> {
    fn clone(&self) -> Self {
        Self(self.0.clone())
    }
}

impl<F: Fused<N>, const N: usize> Backward<Infer, N> for FusedBackward<F> {
    type State = Kept<F, F::Saved>;

    fn backward(self, ops: Parents<Self::State, N>, grads: &mut Gradients, _: &mut Checkpointer) {
        let dy = grads.consume::<Infer>(&ops.node);
        let device = Infer::float_device(&dy);
        let (operation, saved) = &*ops.state.0;
        let wanted = ops.parents.each_ref().map(Option::is_some);
        let gradients = operation.backward(saved, read(dy), wanted);
        for (parent, gradient) in ops.parents.into_iter().zip(gradients) {
            if let (Some(parent), Some(gradient)) = (parent, gradient) {
                grads.register::<Infer>(parent.id, Infer::float_from_data(gradient, &device));
            }
        }
    }
}

/// A tensor in CPU memory as contiguous numbers; copied only where it is a view or shared.
fn read(x: FloatTensor<Infer>) -> TensorData {
    debug_assert_eq!(x.dtype(), DType::F32);
    burn::tensor::try_read_sync(Infer::float_into_data(x))
        .expect("Invariant: the CPU backend answers at once")
        .expect("Invariant: reading CPU memory cannot fail")
}
