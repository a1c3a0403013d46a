// A reply as a model makes it: piece by piece, and slowly.

import { setTimeout as sleep } from "node:timers/promises";

const TEXT = `Yes, we do. Besides whole milk we have oat, almond, soy and coconut milk, and each of them is steamed in a pitcher \
of its own, so that nothing of one gets into the other. Oat milk is what most guests take for a flat white, because it \
foams as milk does and is a little sweet by itself. Almond milk is lighter, and goes well with our cold brew. For a \
crème brûlée latte we would rather use soy, since the caramel (we burn it ourselves) covers the taste of oats.

There is no surcharge for any of them. 😊 A cappuccino is 3,80 € whichever you choose, and a jug for the table, for \
four to six people, is 14 €. If you are allergic to nuts, please tell us when you order: then we clean the steam wand \
and take a fresh pitcher, and it takes two minutes longer.

Today we are open until 19:00. Shall I put a table aside for you? By the window there is one left at half past three, \
and two at five. You would only have to tell me for how many people, and under which name; I will then send you a \
message by which you can change or cancel it. And if you come by bicycle, there is a stand in the yard behind the house.`;

const PIECES = TEXT.match(/\S+\s*/g) ?? [];

// The time that the model takes for a piece, in milliseconds.
const PACE = 30;

export class Reply {
  readonly pieces = PIECES;
  readonly text = TEXT;
  #made = 0;

  // again yields the pieces from the first one on. Only those that were not yielded before take time.
  async *again(): AsyncGenerator<string> {
    for (const [index, piece] of this.pieces.entries()) {
      if (index === this.#made) {
        await sleep(PACE);
        this.#made++;
      }
      yield piece;
    }
  }
}
