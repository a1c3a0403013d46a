//! The metadata that every call needs.

use tonic::metadata::AsciiMetadataValue;
use tonic::metadata::errors::InvalidMetadataValue;
use tonic::service::Interceptor;
use tonic::{Request, Status};

/// The metadata that selects the tenant of a call.
pub const TENANT_HEADER: &str = "x-tenant-id";

/// The metadata with the credential of a call.
const AUTHORIZATION: &str = "authorization";

/// What a caller says with every call: its tenant, and a credential if the service asks for one.
///
/// It is an interceptor, for `with_interceptor` of every client: it adds both to each request.
///
/// ```
/// # use crm_contract::CallerMetadata;
/// let caller = CallerMetadata::of_tenant("0199d1c0-0000-7000-8000-000000000001")?.with_credential("KEY")?;
/// # Ok::<(), Box<dyn std::error::Error>>(())
/// ```
#[derive(Debug, Clone)]
pub struct CallerMetadata {
    tenant: AsciiMetadataValue,
    authorization: Option<AsciiMetadataValue>,
}

impl CallerMetadata {
    /// Names the tenant of all calls, a UUID.
    ///
    /// # Errors
    ///
    /// If the text cannot be sent. Whether it is a UUID is for the service to say.
    pub fn of_tenant(tenant: &str) -> Result<Self, InvalidMetadataValue> {
        Ok(Self { tenant: tenant.parse()?, authorization: None })
    }

    /// Adds the credential of all calls, an API key or a token. Send it over TLS only. It is not printed by `Debug`.
    ///
    /// # Errors
    ///
    /// If the text cannot be sent.
    pub fn with_credential(self, credential: &str) -> Result<Self, InvalidMetadataValue> {
        let mut authorization: AsciiMetadataValue = format!("Bearer {credential}").parse()?;
        authorization.set_sensitive(true);
        Ok(Self { authorization: Some(authorization), ..self })
    }
}

impl Interceptor for CallerMetadata {
    fn call(&mut self, mut request: Request<()>) -> Result<Request<()>, Status> {
        let metadata = request.metadata_mut();
        metadata.insert(TENANT_HEADER, self.tenant.clone());
        if let Some(authorization) = &self.authorization {
            metadata.insert(AUTHORIZATION, authorization.clone());
        }
        Ok(request)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    const TENANT: &str = "0199d1c0-0000-7000-8000-000000000001";

    fn sent(mut caller: CallerMetadata) -> tonic::metadata::MetadataMap {
        caller.call(Request::new(())).expect("a request").into_parts().0
    }

    #[test]
    fn a_call_names_its_tenant_and_its_credential() {
        let caller = CallerMetadata::of_tenant(TENANT).expect("a tenant");
        let metadata = sent(caller.clone());
        assert_eq!(metadata.get(TENANT_HEADER).expect("the tenant"), TENANT);
        assert!(metadata.get(AUTHORIZATION).is_none());
        let metadata = sent(caller.with_credential("key").expect("a credential"));
        assert_eq!(metadata.get(TENANT_HEADER).expect("the tenant"), TENANT);
        assert_eq!(metadata.get(AUTHORIZATION).expect("the credential"), "Bearer key");
    }

    #[test]
    fn a_credential_is_not_printed() {
        let caller = CallerMetadata::of_tenant(TENANT).expect("a tenant");
        let printed = format!("{:?}", caller.with_credential("key").expect("a credential"));
        assert!(printed.contains(TENANT) && !printed.contains("key"), "{printed}");
    }

    #[test]
    fn what_cannot_be_sent_is_refused() {
        assert!(CallerMetadata::of_tenant("a\nb").is_err());
        assert!(CallerMetadata::of_tenant(TENANT).expect("a tenant").with_credential("a\nb").is_err());
    }
}
