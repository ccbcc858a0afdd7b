/** The demo's list of what held and what did not, each with the fact that was measured. */
interface Check {
  readonly name: string;
  readonly held: boolean;
  readonly fact: string;
}

export class CheckList {
  readonly #checks: Check[] = [];

  add(name: string, held: boolean, fact: string): void {
    this.#checks.push({ name, held, fact });
  }

  /** A proof that could not be made is a check that did not hold; the others go on. */
  async attempt(name: string, prove: () => Promise<void>): Promise<void> {
    try {
      await prove();
    } catch (error) {
      this.add(name, false, error instanceof Error ? error.message : String(error));
    }
  }

  get held(): boolean {
    return this.#checks.length > 0 && this.#checks.every((check) => check.held);
  }

  /** Of the demo. One that was interrupted before its end has proven nothing. */
  exitCode(proven: boolean): number {
    if (!proven) return 130;
    return this.held ? 0 : 1;
  }

  render(): string {
    return this.#checks
      .map(({ name, held, fact }) => `${held ? 'ok    ' : 'FAILED'}  ${name}${fact ? `: ${fact}` : ''}`)
      .join('\n');
  }
}
