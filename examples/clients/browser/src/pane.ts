// A part of the page that shows a conversation. Whoever watches tells it what happened.

// ShownMessage is what a pane shows of a message. The words of role and status are those of the contract, without
// prefix and in lower case.
export interface ShownMessage {
  sequence: number;
  role: string;
  status: string;
  text: string;
}

export class Pane {
  readonly #state: HTMLOutputElement;
  readonly #list: HTMLElement;
  readonly #messages = new Map<number, HTMLElement>();

  constructor(id: string) {
    this.#state = document.querySelector(`#${id} output`)!;
    this.#list = document.querySelector(`#${id} .messages`)!;
  }

  // says shows how the connection is.
  says(state: string): void {
    this.#state.dataset.state = state;
    this.#state.value = state;
  }

  // message shows a message as it stands, in place of what was shown of it before.
  message({ sequence, role, status, text }: ShownMessage): void {
    let shown = this.#messages.get(sequence);
    if (!shown) {
      shown = this.#list.appendChild(document.createElement("article"));
      this.#messages.set(sequence, shown);
    }
    shown.dataset.role = role;
    shown.dataset.status = status;
    this.#change(() => (shown.textContent = text));
  }

  // replace shows the text so far of a message in progress.
  replace(sequence: number, text: string): void {
    const shown = this.#messages.get(sequence);
    this.#change(() => shown && (shown.textContent = text));
  }

  // append shows the next piece of the text of a message in progress.
  append(sequence: number, text: string): void {
    const shown = this.#messages.get(sequence);
    this.#change(() => shown?.append(text));
  }

  // A reader who is at the end stays there, and one who has scrolled up is left where they are.
  #change(change: () => void): void {
    const list = this.#list;
    const atEnd = list.scrollHeight - list.scrollTop - list.clientHeight < 40;
    change();
    if (atEnd) {
      list.scrollTop = list.scrollHeight;
    }
  }
}
