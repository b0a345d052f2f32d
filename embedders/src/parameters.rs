//! All parameters of a Burn module as one flat vector, in module order, and back; gradients likewise.
//!
//! Works for any module: the trainer uses it for the whole agent. Module order is the order of the fields, so it is the same in every
//! process, which Burn's random parameter ids are not. This is no file format: names and layouts of other frameworks are in [`weights`].
//!
//! [`weights`]: crate::weights

use std::ops::Range;

use burn::{
    module::{AutodiffModule, Module, ModuleMapper, ModuleVisitor, Param, ParamId},
    optim::GradientsParams,
    tensor::{
        Tensor, TensorData,
        backend::{AutodiffBackend, Backend},
    },
};

use crate::error::EmbeddersError;

/// Where one parameter lies in the flat vector.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct ParameterSlot {
    /// Path of field names and list indices, for example `structure.blocks.0.linear1.weight`.
    pub name: String,
    /// Name of the struct that owns the parameter, for example `Linear`.
    pub owner: String,
    /// Shape in Burn's layout (linear weights are `[in, out]`).
    pub shape: Vec<usize>,
    /// Place in the flat vector, row-major.
    pub range: Range<usize>,
}

/// All parameters, in module order.
pub fn parameter_slots<B: Backend, M: Module<B>>(module: &M) -> Vec<ParameterSlot> {
    let mut visitor = Slots { path: Vec::new(), owners: Vec::new(), slots: Vec::new() };
    module.visit(&mut visitor);
    visitor.slots
}

/// Names of all parameters, in module order.
pub fn parameter_names<B: Backend, M: Module<B>>(module: &M) -> Vec<String> {
    parameter_slots(module).into_iter().map(|slot| slot.name).collect()
}

/// Number of values over all parameters.
pub fn num_parameters<B: Backend, M: Module<B>>(module: &M) -> usize {
    parameter_slots(module).last().map_or(0, |slot| slot.range.end)
}

/// All parameters, one after the other in module order.
pub fn to_flat<B: Backend, M: Module<B>>(module: &M) -> Vec<f32> {
    let mut visitor = Reader { flat: Vec::with_capacity(num_parameters(module)) };
    module.visit(&mut visitor);
    visitor.flat
}

/// The module with all parameters replaced; ids and the wish for gradients stay.
///
/// # Errors
/// [`EmbeddersError::FlatLength`], [`EmbeddersError::NotFinite`].
pub fn from_flat<B: Backend, M: Module<B>>(module: M, flat: &[f32]) -> Result<M, EmbeddersError> {
    let slots = parameter_slots(&module);
    let expected = slots.last().map_or(0, |slot| slot.range.end);
    if flat.len() != expected {
        return Err(EmbeddersError::FlatLength { found: flat.len(), expected });
    }
    if let Some(at) = flat.iter().position(|value| !value.is_finite()) {
        let slot = &slots[slots.partition_point(|slot| slot.range.end <= at)];
        return Err(EmbeddersError::NotFinite { name: slot.name.clone(), index: at - slot.range.start, value: flat[at] });
    }
    Ok(module.map(&mut Writer { flat, at: 0 }))
}

/// Gradients of all parameters, in the order of [`to_flat`]; 0 where the loss does not depend on a parameter.
///
/// # Panics
/// When there is no gradient at all: the module's leaves were not made by [`training_copy`] and would never learn.
pub fn gradients_to_flat<B: AutodiffBackend, M: AutodiffModule<B>>(module: &M, gradients: &GradientsParams) -> Vec<f32> {
    assert!(!gradients.is_empty(), "Invariant: a module in training has gradients; copies for training come from training_copy");
    let mut visitor = GradientReader { gradients, flat: Vec::with_capacity(num_parameters(module)) };
    module.visit(&mut visitor);
    visitor.flat
}

/// Gradients for Burn's optimisers from a flat vector in the order of [`to_flat`].
///
/// # Errors
/// [`EmbeddersError::FlatLength`].
pub fn gradients_from_flat<B: AutodiffBackend, M: AutodiffModule<B>>(module: &M, flat: &[f32]) -> Result<GradientsParams, EmbeddersError> {
    let expected = num_parameters(module);
    if flat.len() != expected {
        return Err(EmbeddersError::FlatLength { found: flat.len(), expected });
    }
    let mut visitor = GradientWriter { gradients: GradientsParams::new(), flat, at: 0 };
    module.visit(&mut visitor);
    Ok(visitor.gradients)
}

/// A copy for training with autodiff leaves of its own, so that threads with a copy each never meet on one tape.
///
/// Differs from Burn's `from_inner` in that every parameter wants gradients: in Burn 0.21 cloning a module on a backend without
/// autodiff forgets that wish, and a copy of such a clone would never learn.
pub fn training_copy<B: AutodiffBackend, M: AutodiffModule<B>>(module: &M::InnerModule) -> M {
    M::from_inner(module.clone()).map(&mut WithGradients)
}

/// The module with parameter ids 1, 2, 3, ... in module order, instead of Burn's random ones.
pub fn renumber<B: Backend, M: Module<B>>(module: M) -> M {
    module.map(&mut Numbers { next: 1 })
}

struct Slots {
    path: Vec<String>,
    owners: Vec<String>,
    slots: Vec<ParameterSlot>,
}

impl<B: Backend> ModuleVisitor<B> for Slots {
    fn enter_module(&mut self, name: &str, container_type: &str) {
        self.path.push(name.to_owned());
        self.owners.push(container_type.strip_prefix("Struct:").unwrap_or(container_type).to_owned());
    }

    fn exit_module(&mut self, _name: &str, _container_type: &str) {
        self.path.pop();
        self.owners.pop();
    }

    fn visit_float<const D: usize>(&mut self, param: &Param<Tensor<B, D>>) {
        let shape = param.dims();
        let start = self.slots.last().map_or(0, |slot| slot.range.end);
        self.slots.push(ParameterSlot {
            name: self.path.join("."),
            owner: self.owners.last().cloned().unwrap_or_default(),
            shape: shape.to_vec(),
            range: start..start + shape.iter().product::<usize>(),
        });
    }
}

struct Reader {
    flat: Vec<f32>,
}

impl<B: Backend> ModuleVisitor<B> for Reader {
    fn visit_float<const D: usize>(&mut self, param: &Param<Tensor<B, D>>) {
        read_into(param.val(), &mut self.flat);
    }
}

struct Writer<'a> {
    flat: &'a [f32],
    at: usize,
}

impl<B: Backend> ModuleMapper<B> for Writer<'_> {
    fn map_float<const D: usize>(&mut self, param: Param<Tensor<B, D>>) -> Param<Tensor<B, D>> {
        let (id, old, mapper) = param.consume();
        let new = write_from(self.flat, &mut self.at, old.dims(), &old.device());
        Param::from_mapped_value(id, new.set_require_grad(old.is_require_grad()), mapper)
    }
}

struct GradientReader<'a> {
    gradients: &'a GradientsParams,
    flat: Vec<f32>,
}

impl<B: AutodiffBackend> ModuleVisitor<B> for GradientReader<'_> {
    fn visit_float<const D: usize>(&mut self, param: &Param<Tensor<B, D>>) {
        match self.gradients.get::<B::InnerBackend, D>(param.id) {
            Some(gradient) => read_into(gradient, &mut self.flat),
            None => self.flat.resize(self.flat.len() + param.dims().iter().product::<usize>(), 0.0),
        }
    }
}

struct GradientWriter<'a> {
    gradients: GradientsParams,
    flat: &'a [f32],
    at: usize,
}

impl<B: AutodiffBackend> ModuleVisitor<B> for GradientWriter<'_> {
    fn visit_float<const D: usize>(&mut self, param: &Param<Tensor<B, D>>) {
        let gradient: Tensor<B::InnerBackend, D> = write_from(self.flat, &mut self.at, param.dims(), &param.device());
        self.gradients.register(param.id, gradient);
    }
}

struct WithGradients;

impl<B: Backend> ModuleMapper<B> for WithGradients {
    fn map_float<const D: usize>(&mut self, param: Param<Tensor<B, D>>) -> Param<Tensor<B, D>> {
        param.map(Tensor::require_grad)
    }
}

struct Numbers {
    next: u64,
}

impl<B: Backend> ModuleMapper<B> for Numbers {
    fn map_float<const D: usize>(&mut self, param: Param<Tensor<B, D>>) -> Param<Tensor<B, D>> {
        let (_, tensor, mapper) = param.consume();
        let id = ParamId::from(self.next);
        self.next += 1;
        Param::from_mapped_value(id, tensor, mapper)
    }
}

fn read_into<B: Backend, const D: usize>(tensor: Tensor<B, D>, flat: &mut Vec<f32>) {
    let values = tensor.into_data().convert::<f32>();
    flat.extend_from_slice(values.as_slice().expect("Invariant: converted to f32"));
}

fn write_from<B: Backend, const D: usize>(flat: &[f32], at: &mut usize, shape: [usize; D], device: &B::Device) -> Tensor<B, D> {
    let len: usize = shape.iter().product();
    let values = flat[*at..*at + len].to_vec();
    *at += len;
    Tensor::from_data(TensorData::new(values, shape), device)
}
