import { MantineProvider } from "@mantine/core";
import { QueryClientProvider } from "@tanstack/react-query";
import { RouterProvider } from "@tanstack/react-router";
import { useEffect } from "react";
import { newClient } from "../api/query";
import { onSignedOut } from "../api/client";
import { followEvents } from "../ui/hooks";
import { router } from "./router";
import { colourScheme, cssVariables, forced, theme } from "./theme";

const client = newClient();

/** The whole interface: kit, cache, live link, pages. */
export function App() {
  useEffect(() => followEvents(client), []);
  useEffect(() => onSignedOut(() => void client.invalidateQueries({ queryKey: ["me"], exact: true, refetchType: "active" }, { cancelRefetch: false })), []);
  return (
    <MantineProvider theme={theme} defaultColorScheme="auto" forceColorScheme={forced} colorSchemeManager={colourScheme} cssVariablesResolver={cssVariables}>
      <QueryClientProvider client={client}><RouterProvider router={router} /></QueryClientProvider>
    </MantineProvider>
  );
}
