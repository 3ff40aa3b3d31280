import type { Language } from "./shell/preferences.ts";

/** The relations of the demonstration set in English; their own names are Chinese. */
export const ENGLISH_LABELS: Readonly<Record<string, string>> = {
  收购: "acquires",
  被收购: "is acquired by",
  持股: "holds shares of",
  被持股: "is partly owned by",
  合作: "works with",
  竞争: "competes with",
  创办: "founded",
  任职: "works for",
  亲属: "is related to",
  位于: "is located in",
  拥有: "owns",
  创作: "created",
};

export interface ExampleText {
  title: Readonly<Record<Language, string>>;
  text: string;
  names: readonly string[];
}

/** Sentences of demo/fresh.jsonl, which the demonstration run has not seen. */
export const EXAMPLES: readonly ExampleText[] = [
  {
    title: { zh: "财经", en: "Finance" },
    text: "蓝桉控股今天宣布，已完成对老牌罐头厂鲜满仓的收购。半年报显示，杨梅渡资本持有石榴籽影视百分之七的股份。萤火电池与雪橇汽车签署战略合作协议，联合研发耐寒电池。奶茶市场上，三片叶和一口甜是多年的竞争对手。橘井药业否认有意收购松针医疗，称消息纯属谣言。",
    names: [
      ...["蓝桉控股", "鲜满仓", "杨梅渡资本", "石榴籽影视", "萤火电池", "雪橇汽车", "三片叶", "一口甜"],
      ...["橘井药业", "松针医疗"],
    ],
  },
  {
    title: { zh: "人物", en: "People" },
    text: "退役船长鲁北望在渔村创办了听潮学堂。董事会聘请史微澜出任橡果基金的首席经济学家。秦小满是秦木匠的小女儿，也是村里第一个大学生。作家柯灵犀的长篇小说《南山有雾》写了整整八年。渡月亭坐落在芙蓉湖北岸，亭下停着两条旧船。",
    names: [
      ...["鲁北望", "听潮学堂", "史微澜", "橡果基金", "秦小满", "秦木匠", "柯灵犀", "《南山有雾》"],
      ...["渡月亭", "芙蓉湖"],
    ],
  },
];

/** A third text for the page of the server: several entities in one sentence. */
export const DENSE_EXAMPLE: ExampleText = {
  title: { zh: "多实体句", en: "Dense sentences" },
  text: "蓝桉控股收购鲜满仓之后，又与雪橇汽车签署合作协议，雪橇汽车的老对手萤火电池随即表示不会跟进。史微澜早年创办橡果基金，后来出任杨梅渡资本的董事，她的姐姐史微雨是石榴籽影视的编剧。\n柯灵犀写的《南山有雾》由石榴籽影视改编，外景地选在芙蓉湖边的渡月亭。马夫老葛养着一匹白马，名叫照夜。",
  names: [
    ...["蓝桉控股", "鲜满仓", "雪橇汽车", "萤火电池", "史微澜", "橡果基金", "杨梅渡资本", "史微雨", "石榴籽影视"],
    ...["柯灵犀", "《南山有雾》", "芙蓉湖", "渡月亭", "老葛", "照夜"],
  ],
};
