defmodule Json do
  @moduledoc "JSON for Elixir before 1.18, which has no JSON of its own. Whole numbers keep all their digits."

  def decode(text) do
    {value, rest} = value(skip(text))
    "" = skip(rest)
    value
  end

  defp skip(<<c, rest::binary>>) when c in ~c" \t\r\n", do: skip(rest)
  defp skip(rest), do: rest

  defp value("null" <> rest), do: {nil, rest}
  defp value("true" <> rest), do: {true, rest}
  defp value("false" <> rest), do: {false, rest}
  defp value("\"" <> rest), do: string(rest, rest, 0, [])
  defp value("[" <> rest), do: list(skip(rest), [])
  defp value("{" <> rest), do: object(skip(rest), [])
  defp value(text), do: number(text, text, 0, false)

  defp list("]" <> rest, []), do: {[], rest}

  defp list(text, found) do
    {value, rest} = value(text)

    case skip(rest) do
      "," <> rest -> list(skip(rest), [value | found])
      "]" <> rest -> {Enum.reverse([value | found]), rest}
    end
  end

  defp object("}" <> rest, []), do: {%{}, rest}

  defp object("\"" <> rest, found) do
    {key, rest} = string(rest, rest, 0, [])
    ":" <> rest = skip(rest)
    {value, rest} = value(skip(rest))

    case skip(rest) do
      "," <> rest -> object(skip(rest), [{key, value} | found])
      "}" <> rest -> {Map.new([{key, value} | found]), rest}
    end
  end

  # `size` bytes of `from` need no change.
  defp string("\"" <> rest, from, size, done),
    do: {IO.iodata_to_binary([done | binary_part(from, 0, size)]), rest}

  defp string("\\u" <> <<hex::binary-4, rest::binary>>, from, size, done) do
    done = [done | binary_part(from, 0, size)]

    case {String.to_integer(hex, 16), rest} do
      {high, "\\u" <> <<low::binary-4, rest::binary>>} when high in 0xD800..0xDBFF ->
        code = 0x10000 + (high - 0xD800) * 0x400 + String.to_integer(low, 16) - 0xDC00
        string(rest, rest, 0, [done | <<code::utf8>>])

      {code, rest} ->
        string(rest, rest, 0, [done | <<code::utf8>>])
    end
  end

  for {letter, byte} <- Enum.zip(~c"\"\\/bfnrt", ~c"\"\\/\b\f\n\r\t") do
    defp string(<<?\\, unquote(letter), rest::binary>>, from, size, done),
      do: string(rest, rest, 0, [[done | binary_part(from, 0, size)] | [unquote(byte)]])
  end

  defp string(<<_, rest::binary>>, from, size, done), do: string(rest, from, size + 1, done)

  defp number(<<c, rest::binary>>, from, size, real) when c in ~c"-+0123456789.eE",
    do: number(rest, from, size + 1, real or c in ~c".eE")

  defp number(rest, from, size, real) do
    text = binary_part(from, 0, size)

    cond do
      not real -> {String.to_integer(text), rest}
      text =~ "." -> {String.to_float(text), rest}
      true -> {String.to_float(String.replace(text, ~r/[eE]/, ".0e")), rest}
    end
  end

  def encode(nil), do: "null"
  def encode(value) when is_boolean(value), do: Atom.to_string(value)
  def encode(value) when is_integer(value), do: Integer.to_string(value)
  def encode(value) when is_float(value), do: :erlang.float_to_binary(value, [:short])
  def encode(value) when is_atom(value), do: encode(Atom.to_string(value))
  def encode(value) when is_list(value), do: [?[, Enum.intersperse(Enum.map(value, &encode/1), ?,), ?]]

  def encode(value) when is_map(value) do
    pairs = Enum.map(value, fn {key, held} -> [encode(to_string(key)), ?:, encode(held)] end)
    [?{, Enum.intersperse(pairs, ?,), ?}]
  end

  def encode(value) when is_binary(value), do: [?", escape(value, value, 0, []), ?"]

  defp escape("", from, size, done), do: [done | binary_part(from, 0, size)]

  defp escape(<<c, rest::binary>>, from, size, done) when c < 0x20 or c in ~c"\"\\" do
    hex = c |> Integer.to_string(16) |> String.pad_leading(4, "0")
    escape(rest, rest, 0, [[done | binary_part(from, 0, size)], "\\u", hex])
  end

  defp escape(<<_, rest::binary>>, from, size, done), do: escape(rest, from, size + 1, done)
end
