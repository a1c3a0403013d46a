//! The contract of crm-backend, for Rust clients: what they send and get, and nothing of the service.
//!
//! ```no_run
//! # #[cfg(feature = "client")]
//! # async fn call() -> Result<(), Box<dyn std::error::Error>> {
//! use crm_contract::pb::customer_service_client::CustomerServiceClient;
//! use crm_contract::{CallerMetadata, Failure, pb};
//! use tonic::transport::Endpoint;
//!
//! let channel = Endpoint::from_static("http://127.0.0.1:50051").connect().await?;
//! let caller = CallerMetadata::of_tenant("0199d1c0-0000-7000-8000-000000000001")?.with_credential("KEY")?;
//! let mut customers = CustomerServiceClient::with_interceptor(channel, caller);
//!
//! let request = pb::GetCustomerBySlugRequest { slug: "cafe-zoe".to_owned(), ..Default::default() };
//! match customers.get_customer_by_slug(request).await {
//!     Ok(response) => println!("{:?}", response.into_inner().customer),
//!     Err(status) => {
//!         let failure = Failure::of(&status);
//!         match failure.reason() {
//!             Some(pb::ErrorReason::CustomerNotFound) => println!("no customer has this slug"),
//!             _ => return Err(failure.into()),
//!         }
//!     }
//! }
//! # Ok(())
//! # }
//! ```
//!
//! | feature | adds |
//! |---|---|
//! | `client` (default) | the clients, and tonic's channel |
//! | `validate` | [`validate`](mod@validate): the rules of the contract, as the service checks them |
//! | `reflection` | `pb::CONTRACT`: the descriptors of the contract |
//! | `server` | the services, for a fake service in tests; an RPC that the fake does not have is UNIMPLEMENTED |

mod failure;
mod metadata;
pub mod pb;
#[cfg(feature = "validate")]
pub mod validate;
pub mod words;

pub use failure::{ERROR_DOMAIN, Failure};
pub use metadata::{CallerMetadata, TENANT_HEADER};
pub use words::Word;
