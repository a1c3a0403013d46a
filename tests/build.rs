//! Tests of the code that the build generates; they are here because a build script has no tests of
//! its own.

#[path = "../build/ids.rs"]
mod ids;
#[path = "../build/methods.rs"]
mod methods;
#[path = "../build/requests.rs"]
mod requests;
#[path = "../build/shapes.rs"]
mod shapes;
#[path = "../build/validation.rs"]
mod validation;
#[path = "../build/words.rs"]
mod words;
