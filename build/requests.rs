//! What requests have in common, read off their fields: a `request_id`, a page. And all of them in a
//! list, for the fuzz targets.

use std::collections::BTreeSet;

use prost_reflect::{DescriptorPool, MessageDescriptor};

/// Writes `impl Mutation` for every request with a `request_id`, and `impl Paged`
/// for every request with a `page_token`.
pub(crate) fn generate(pool: &DescriptorPool, package: &str) -> String {
    pool.all_messages()
        .filter(|message| message.package_name() == package && message.parent_message().is_none())
        .flat_map(|message| [mutation(&message), paged(&message)])
        .flatten()
        .collect()
}

fn mutation(message: &MessageDescriptor) -> Option<String> {
    message.get_field_by_name("request_id")?;
    Some(format!(
        "impl crate::rpc::Mutation for crate::pb::{name} {{\n    \
             fn request_id(&self) -> &str {{\n        &self.request_id\n    }}\n\
         }}\n",
        name = message.name(),
    ))
}

fn paged(message: &MessageDescriptor) -> Option<String> {
    message.get_field_by_name("page_token").filter(|_| message.name().ends_with("Request"))?;
    Some(format!(
        "impl crate::rpc::Paged for crate::pb::{name} {{\n    \
             fn page_size(&self) -> i32 {{\n        self.page_size\n    }}\n    \
             fn page_token(&self) -> &str {{\n        &self.page_token\n    }}\n    \
             fn without_page(&self) -> Self {{\n        \
                 Self {{ page_size: 0, page_token: String::new(), ..self.clone() }}\n    \
             }}\n\
         }}\n",
        name = message.name(),
    ))
}

/// Writes the list of all requests of the contract: a name, and what decodes and checks it.
pub(crate) fn list(pool: &DescriptorPool, package: &str) -> String {
    let services = pool.services().filter(|service| service.package_name() == package);
    let methods = services.flat_map(|service| service.methods().collect::<Vec<_>>());
    let requests: BTreeSet<String> = methods.map(|method| method.input().name().to_owned()).collect();
    let entry = |name: &String| format!("    (\"{name}\", super::request::<crate::pb::{name}>),\n");
    let entries: String = requests.iter().map(entry).collect();
    format!("pub(super) const REQUESTS: &[super::Request] = &[\n{entries}];\n")
}
