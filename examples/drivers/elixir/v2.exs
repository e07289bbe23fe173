# The original's second shape: each caller checks a worker out and does its own I/O on the worker's port.
Code.compiler_options(debug_info: false)
Code.require_file("json.exs", __DIR__)
Code.require_file("driver.exs", __DIR__)

defmodule Checkout do
  @moduledoc "A checkout pool: who holds which worker, and who waits. It starts and ends workers, and does no I/O."
  use GenServer
  import Worker, only: [now: 0]

  @again_ms 50
  def start_link(config), do: GenServer.start_link(__MODULE__, config, name: __MODULE__)

  @doc "Returns {number, worker}, whose port this process then owns; :timeout, or :closed."
  def checkout(patience) do
    send(__MODULE__, {:checkout, ref = make_ref(), self()})

    receive do
      {^ref, found} -> found
    after
      patience ->
        send(__MODULE__, {:cancel, ref, self()})

        receive do
          {^ref, found} -> found
        end
    end
  end

  def checkin(number, {port, _, _}) do
    Port.connect(port, Process.whereis(__MODULE__))
    Process.unlink(port)
    send(__MODULE__, {:checkin, number})
  rescue
    ArgumentError -> send(__MODULE__, {:ended, number})
  end

  @impl true
  def init(config) do
    Process.flag(:trap_exit, true)
    for _ <- 1..config["workers"], do: send(self(), :start)
    {:ok, %{config: config, last: 0, workers: %{}, idle: [], held: %{}, waiting: [], warm: [], closer: nil}}
  end

  @impl true
  def handle_info(:start, %{closer: nil, config: config, last: last} = state) do
    pool = self()
    deadline = now() + round(config["start_timeout_s"] * 1000)

    spawn(fn ->
      {port, _, _} = worker = Worker.start(config, last + 1)

      if Worker.shake_hands(worker, deadline) == :ok do
        send(pool, {:started, last + 1, worker})
        Port.connect(port, pool)
        Process.unlink(port)
      else
        Worker.kill(worker)
        Process.send_after(pool, :start, @again_ms)
      end
    end)

    {:noreply, %{state | last: last + 1}}
  end

  def handle_info({:started, number, worker}, state),
    do: free(%{state | workers: Map.put(state.workers, number, worker)}, number)

  def handle_info({:checkout, ref, client}, %{closer: nil} = state),
    do: serve(%{state | waiting: state.waiting ++ [{ref, client}]})

  def handle_info({:checkout, ref, client}, state) do
    send(client, {ref, :closed})
    {:noreply, state}
  end

  def handle_info({:cancel, ref, client}, state) do
    if {ref, client} in state.waiting, do: send(client, {ref, :timeout})
    {:noreply, %{state | waiting: state.waiting -- [{ref, client}]}}
  end

  def handle_info({:checkin, number}, state) when is_map_key(state.workers, number), do: free(state, number)
  def handle_info({:ended, number}, state) when is_map_key(state.workers, number), do: release(state, number)

  # A client has ended while it held a worker.
  def handle_info({:DOWN, monitor, _, _, _}, state) do
    case Enum.find(state.held, fn {_, held} -> held == monitor end) do
      {number, _} -> release(state, number)
      nil -> {:noreply, state}
    end
  end

  # An idle worker has ended, or has sent what nobody asked for.
  def handle_info({port, told}, state) when is_port(port) and told != :connected do
    case Enum.find(state.workers, fn {number, {own, _, _}} -> own == port and number in state.idle end) do
      {number, _} -> release(state, number)
      nil -> {:noreply, state}
    end
  end

  def handle_info(:grace_over, state) do
    for {number, _} <- state.held, do: Worker.kill_process(state.workers[number])
    {:noreply, state}
  end

  def handle_info(_, state), do: {:noreply, state}

  @impl true
  def handle_call(:status, _, state) do
    workers =
      for {number, {_, pid, _}} <- state.workers,
          do: %{worker: number, pid: pid, state: if(is_map_key(state.held, number), do: "leased", else: "idle")}

    {:reply, {:ok, %{workers: workers, waiting: length(state.waiting)}}, state}
  end

  def handle_call(:closing, _, state), do: {:reply, state.closer != nil, state}

  def handle_call({:warm_up, count}, from, state), do: serve(%{state | warm: [{count, from} | state.warm]})

  def handle_call({:close, grace}, from, state) do
    for {ref, client} <- state.waiting, do: send(client, {ref, :closed})
    Process.send_after(self(), :grace_over, grace)
    serve(%{state | waiting: [], closer: from})
  end

  defp free(state, number), do: serve(%{forget(state, number) | idle: state.idle ++ [number]})

  defp release(state, number) do
    Worker.kill(state.workers[number])
    if state.closer == nil, do: send(self(), :start)
    state = forget(state, number)
    serve(%{state | workers: Map.delete(state.workers, number), idle: state.idle -- [number]})
  end

  defp forget(state, number) do
    {monitor, held} = Map.pop(state.held, number)
    if monitor, do: Process.demonitor(monitor, [:flush])
    %{state | held: held}
  end

  defp serve(%{closer: nil, idle: [number | idle], waiting: [{ref, client} | waiting]} = state) do
    {port, _, _} = worker = state.workers[number]

    try do
      Port.connect(port, client)
      Process.unlink(port)
      send(client, {ref, {number, worker}})
      held = Map.put(state.held, number, Process.monitor(client))
      serve(%{state | idle: idle, waiting: waiting, held: held})
    rescue
      ArgumentError -> release(%{state | idle: idle}, number)
    end
  end

  defp serve(%{closer: closer, held: held} = state) when closer != nil and held == %{} do
    for {_, worker} <- state.workers, do: Worker.kill(worker)
    GenServer.reply(closer, :ok)
    {:noreply, %{state | workers: %{}, idle: []}}
  end

  defp serve(state) do
    ready = map_size(state.workers)
    {warm, cold} = Enum.split_with(state.warm, fn {count, _} -> ready >= count end)
    for {_, from} <- warm, do: GenServer.reply(from, {:ok, %{ready: ready}})
    {:noreply, %{state | warm: cold}}
  end
end

defmodule V2 do
  import Worker, only: [error: 2, error: 3, now: 0, left: 1]

  def start(config), do: {:ok, _} = Checkout.start_link(config)
  def status, do: GenServer.call(Checkout, :status)
  def warm_up(count), do: GenServer.call(Checkout, {:warm_up, count}, :infinity)
  def close(grace), do: Process.whereis(Checkout) && GenServer.call(Checkout, {:close, grace}, :infinity)

  def call(message) do
    deadline = now() + round(message["timeout_s"] * 1000)
    call(message, min(deadline, now() + round(message["checkout_timeout_s"] * 1000)), deadline)
  end

  defp call(%{"id" => id, "command" => command} = message, patience, deadline) do
    with {number, worker} <- Checkout.checkout(left(patience)) do
      case Worker.exchange(worker, id, command, message["args"], deadline) do
        {kind, _} = answer when kind in [:ok, :error] ->
          Checkout.checkin(number, worker)
          answer

        broken ->
          send(Checkout, {:ended, number})
          told(broken, number, message, patience, deadline)
      end
    else
      :timeout -> error("CheckoutTimeout", "#{command}: no worker was free in time")
      :closed -> error("PoolClosed", "the pool is closed")
    end
  end

  defp told(:closed, _, message, patience, deadline), do: call(message, patience, deadline)
  defp told(:timeout, number, _, _, _), do: error("CallTimeout", "worker #{number} did not answer in time", "yes")

  defp told({:crashed, how}, number, _, _, _) do
    kind = if GenServer.call(Checkout, :closing), do: "PoolClosed", else: "WorkerCrashed"
    error(kind, "worker #{number} #{how}", "yes")
  end
end

Driver.run(V2, %{
  name: "elixir-v2",
  summary: "each caller checks a worker out and does its own I/O on the worker's port",
  capabilities: ["kill", "journal", "warm_up"]
})
