/** A line for the user: a slow backend, data without a validation split, a damaged checkpoint. */
export interface NoticeEvent {
  kind: "notice";
  text: string;
}
