using AttnCompose.Cpu;

namespace AttnCompose.Models.Tests;

/// <summary>A random model of odd sizes, and what double arithmetic in plain loops makes of a prompt.</summary>
internal sealed class TinyModel
{
    private readonly Dictionary<string, (long[] Shape, float[] Data)> _weights = [];

    public TinyModel(LlamaConfig config, int seed)
    {
        Config = config;
        var random = new Random(seed);
        int hidden = config.HiddenSize;
        int query = config.QueryHeads * config.HeadDim, keyValue = config.KeyValueHeads * config.HeadDim;
        Add("model.embed_tokens.weight", config.VocabularySize, hidden);
        Add("model.norm.weight", hidden);
        if (!config.TiedEmbeddings)
            Add("lm_head.weight", config.VocabularySize, hidden);
        for (int i = 0; i < config.Layers; i++)
        {
            string at = $"model.layers.{i}.";
            Add(at + "input_layernorm.weight", hidden);
            Add(at + "self_attn.q_proj.weight", query, hidden);
            Add(at + "self_attn.k_proj.weight", keyValue, hidden);
            Add(at + "self_attn.v_proj.weight", keyValue, hidden);
            Add(at + "self_attn.o_proj.weight", hidden, query);
            Add(at + "post_attention_layernorm.weight", hidden);
            Add(at + "mlp.gate_proj.weight", config.IntermediateSize, hidden);
            Add(at + "mlp.up_proj.weight", config.IntermediateSize, hidden);
            Add(at + "mlp.down_proj.weight", hidden, config.IntermediateSize);
        }

        void Add(string name, params long[] shape)
        {
            // Values that bfloat16 and float16 hold exactly, so that the type of the file does not matter.
            var data = new float[shape.Aggregate(1L, (product, size) => product * size)];
            for (int i = 0; i < data.Length; i++)
                data[i] = random.Next(-64, 65) / 128f;
            _weights.Add(name, (shape, data));
        }
    }

    public static LlamaConfig OddSizes { get; } = new()
    {
        VocabularySize = 37, HiddenSize = 22, Layers = 3, QueryHeads = 6, KeyValueHeads = 2, HeadDim = 10, IntermediateSize = 29,
        NormEpsilon = 1e-5, RopeTheta = 100, EndTokens = [],
    };

    public LlamaConfig Config { get; }

    public void Save<T>(
        string path, Func<float, T> convert, Action<Dictionary<string, (long[] Shape, float[] Data)>>? change = null)
        where T : unmanaged
    {
        var weights = new Dictionary<string, (long[] Shape, float[] Data)>(_weights);
        change?.Invoke(weights);
        var writer = new SafeTensorsWriter();
        foreach ((string name, (long[] shape, float[] data)) in weights)
            writer.Add<T>(name, shape, data.Select(convert).ToArray());
        writer.Save(path);
    }

    public LlamaModel Load(CpuDevice device)
    {
        using var directory = new TemporaryDirectory();
        Save(directory["m"], value => value);
        using SafeTensorsFile file = SafeTensorsFile.Open(directory["m"]);
        return LlamaModel.Load(Config, file, device);
    }

    /// <summary>Logits of the last token, and the residual stream before each layer and after the last one.</summary>
    public (double[] Logits, List<double[][]> Stream) Reference(int[] tokens)
    {
        var stream = new List<double[][]>();
        double[][] x = [.. tokens.Select(token => Row("model.embed_tokens.weight", token))];
        for (int i = 0; i < Config.Layers; i++)
        {
            string at = $"model.layers.{i}.";
            stream.Add([.. x.Select(row => (double[])row.Clone())]);
            double[][] normal = [.. x.Select(row => Normalize(row, at + "input_layernorm.weight"))];
            double[][] q = Turn(normal.Select(row => Multiply(at + "self_attn.q_proj.weight", row)), Config.QueryHeads);
            double[][] k = Turn(normal.Select(row => Multiply(at + "self_attn.k_proj.weight", row)), Config.KeyValueHeads);
            double[][] v = [.. normal.Select(row => Multiply(at + "self_attn.v_proj.weight", row))];
            x = [.. x.Select((row, t) => Add(row, Multiply(at + "self_attn.o_proj.weight", Attend(q[t], k, v, t))))];
            x = [.. x.Select(row =>
            {
                double[] y = Normalize(row, at + "post_attention_layernorm.weight");
                double[] gate = Multiply(at + "mlp.gate_proj.weight", y), up = Multiply(at + "mlp.up_proj.weight", y);
                return Add(row, Multiply(at + "mlp.down_proj.weight", [.. gate.Zip(up, (g, u) => g / (1 + Math.Exp(-g)) * u)]));
            })];
        }
        stream.Add(x);
        string output = Config.TiedEmbeddings ? "model.embed_tokens.weight" : "lm_head.weight";
        return (Multiply(output, Normalize(x[^1], "model.norm.weight")), stream);
    }

    private double[] Row(string name, int row)
    {
        int width = (int)_weights[name].Shape[1];
        return [.. _weights[name].Data.AsSpan(row * width, width).ToArray().Select(value => (double)value)];
    }

    private double[] Multiply(string name, double[] x) =>
        [.. Enumerable.Range(0, (int)_weights[name].Shape[0])
            .Select(row => Row(name, row).Zip(x, (w, value) => w * value).Sum())];

    private double[] Normalize(double[] x, string name)
    {
        double scale = 1 / Math.Sqrt(x.Sum(value => value * value) / x.Length + Config.NormEpsilon);
        return [.. x.Zip(_weights[name].Data, (value, weight) => value * scale * weight)];
    }

    private static double[] Add(double[] x, double[] y) => [.. x.Zip(y, (a, b) => a + b)];

    private double[][] Turn(IEnumerable<double[]> rows, int heads)
    {
        int dim = Config.HeadDim, half = dim / 2;
        return [.. rows.Select((row, position) =>
        {
            var result = new double[row.Length];
            for (int head = 0; head < heads; head++)
            {
                for (int i = 0; i < half; i++)
                {
                    double angle = position * Math.Pow(Config.RopeTheta, -2.0 * i / dim);
                    double a = row[head * dim + i], b = row[head * dim + half + i];
                    result[head * dim + i] = a * Math.Cos(angle) - b * Math.Sin(angle);
                    result[head * dim + half + i] = b * Math.Cos(angle) + a * Math.Sin(angle);
                }
            }
            return result;
        })];
    }

    private double[] Attend(double[] query, double[][] keys, double[][] values, int last)
    {
        int dim = Config.HeadDim;
        var result = new double[query.Length];
        for (int head = 0; head < Config.QueryHeads; head++)
        {
            int from = head / (Config.QueryHeads / Config.KeyValueHeads) * dim;
            double[] scores = [.. Enumerable.Range(0, last + 1).Select(t =>
                Enumerable.Range(0, dim).Sum(i => query[head * dim + i] * keys[t][from + i]) / Math.Sqrt(dim))];
            double largest = scores.Max();
            double sum = scores.Sum(score => Math.Exp(score - largest));
            for (int t = 0; t <= last; t++)
            {
                for (int i = 0; i < dim; i++)
                    result[head * dim + i] += Math.Exp(scores[t] - largest) / sum * values[t][from + i];
            }
        }
        return result;
    }
}
