/** An error that its message says all about: printed as it is, without a stack trace. */
export class Refusal extends Error {}
