import { render } from "preact";
import { App } from "./app";
import "./style/tokens.css";
import "./style/base.css";
import "./style/controls.css";
import "./style/sessions.css";
import "./style/session.css";

const root = document.getElementById("console");
if (root) render(<App />, root);
