// A lost server says nothing, and a browser sends no pings. But a watch tells a checkpoint at least every 15 seconds, so
// after a longer silence the connection is lost.
const SILENCE = 40_000;

export class Silence {
  #timer = 0;

  constructor(readonly lost: () => void) {
    this.broken();
  }

  // broken says that something came: wait anew.
  broken(): void {
    this.end();
    this.#timer = +setTimeout(this.lost, SILENCE);
  }

  end(): void {
    clearTimeout(this.#timer);
  }
}
