//! What the tools do.

mod conversations;
mod customers;
mod faqs;
mod questions;

use super::arguments::Arguments;
use super::calls::Clients;
use super::catalog::Task;
use super::trouble::Trouble;

/// The answer of a tool, or why there is none.
type Told = Result<String, Trouble>;

/// Does a task with arguments that keep its schema.
///
/// # Errors
///
/// What is wrong, and what to do instead.
pub(super) async fn run(task: Task, clients: &Clients, arguments: &Arguments) -> Told {
    match task {
        Task::FindCustomers => customers::find(clients, arguments).await,
        Task::GetCustomerContext => customers::context(clients, arguments).await,
        Task::ReadConversation => conversations::read(clients, arguments).await,
        Task::SearchFaqs => faqs::search(clients, arguments).await,
        Task::NextQuestions => questions::next(clients, arguments).await,
        Task::SaveCustomer => customers::save(clients, arguments).await,
        Task::StartConversation => conversations::start(clients, arguments).await,
        Task::AddMessage => conversations::add_message(clients, arguments).await,
        Task::RecordAnswer => questions::answer(clients, arguments).await,
        Task::RecordFaq => faqs::record(clients, arguments).await,
        Task::EndConversation => conversations::end(clients, arguments).await,
    }
}

/// Returns how many items of at least this many tokens a budget has room for, within limits.
fn items(budget: i64, tokens_of_item: i64, most: i32) -> i32 {
    i32::try_from(budget / tokens_of_item).unwrap_or(most).clamp(1, most)
}
