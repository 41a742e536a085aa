//! The black-box suite, its peers, the contract suites.

pub mod harness;

#[cfg(test)]
mod bundle;
#[cfg(test)]
mod cloud;
#[cfg(test)]
mod contract;
#[cfg(test)]
mod crash;
#[cfg(test)]
mod edge;
#[cfg(test)]
mod fleet;
#[cfg(test)]
mod fuzz;
#[cfg(test)]
mod hostile;
#[cfg(test)]
mod im_store;
#[cfg(test)]
mod infra;
#[cfg(test)]
mod juhe_store;
#[cfg(test)]
mod model;
#[cfg(test)]
mod moving;
#[cfg(test)]
mod openapi;
#[cfg(test)]
mod quickstart;
#[cfg(test)]
mod routes;
#[cfg(test)]
mod seed000;
#[cfg(test)]
mod seed001;
#[cfg(test)]
mod seed002;
#[cfg(test)]
mod seed003;
#[cfg(test)]
mod seed004;
#[cfg(test)]
mod tenants;
#[cfg(test)]
mod whatsapp_web;
